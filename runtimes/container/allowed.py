"""The system calls of a box, by name: what is allowed, on what condition, and nothing else.

Everything is meant for programs that know nothing of the box: what they need is here, whether it is old or new. Not
here is what reaches beyond the box or widens the kernel's surface without need: mounts and namespaces, other processes'
memory (ptrace and its kin), keys, BPF, performance counters, io_uring, userfaultfd, file handles, modules, the clock,
restarting, raw hardware, NUMA policy, quotas and what the kernel itself calls obsolete.

A name that this host's libseccomp does not know yet is passed over: its number then gets the answer "no such call".
"""

from __future__ import annotations

FILES = """
access chdir chmod chown chroot close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat lchown lgetxattr link
linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat
name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile setxattr setxattrat splice
stat statfs statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs tee truncate umask unlink unlinkat
utime utimensat utimes vmsplice write writev
"""

MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect
mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease
remap_file_pages
"""

PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork getegid geteuid getgid getgroups getpgid getpgrp getpid
getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64
restart_syscall rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
seccomp set_robust_list get_robust_list set_thread_area get_thread_area set_tid_address setfsgid setfsuid setgid
setgroups setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid tgkill tkill vfork wait4
waitid
"""

SIGNALS_AND_TIME = """
adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
setitimer sigaltstack signalfd signalfd4 time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime times
"""

WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 futex futex_requeue
futex_wait futex_waitv futex_wake inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_setup io_submit poll ppoll pselect6 select
"""

TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 recvfrom recvmmsg recvmsg semctl semget semop semtimedop
sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketpair
"""

THE_MACHINE = "getcpu getrandom ioctl sysinfo uname"
"""`ioctl` with two exceptions, see seccomp.py."""

FREELY = tuple(" ".join((FILES, MEMORY, PROCESSES, SIGNALS_AND_TIME, WAITING, TALKING, THE_MACHINE)).split())

SOCKET_FAMILIES = (1, 2, 10, 16, 17)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET: every other family is code that few use and many broke out of."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF)
"""Linux, 32-bit Linux, both with an old version's name, and asking which it is. Not: without address randomisation."""

NAMESPACE_FLAGS = 0x7E02_0000
"""`clone` with any of these is refused. `clone3` keeps them in memory, where a filter cannot look."""

UNHEARD_OF = ("clone3",)
"""Answered with "no such call", upon which the C library takes `clone`."""
