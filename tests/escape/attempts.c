/* One attempt to get out of a box, or to change what is the host's, by name: `attempts NAME [ARGUMENT]`.
 *
 * Prints "ok" when the kernel let it happen, else the name of the error. Every attempt is harmless where it succeeds:
 * those that could do damage pass arguments the kernel refuses after it has checked the permission, so that the error
 * tells which of the two it was.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_fsopen 430
#define SYS_clone3 435
#define SYS_pidfd_getfd 438
#define SYS_mount_setattr 442
#endif

#define RAW(...) syscall(__VA_ARGS__)
#define UNKNOWN_SYSCALL 4000
#define X32 0x40000000

static const char *argument = "";

/* mounts and namespaces */
static long mount_tmpfs(void) { return mount("x", "/tmp", "tmpfs", 0, NULL); }
static long mount_proc(void) { return mount("x", "/tmp", "proc", 0, NULL); }
static long bind_mount(void) { return mount("/", "/tmp", NULL, MS_BIND, NULL); }
static long remount(void) { return mount(NULL, argument, NULL, MS_REMOUNT | MS_BIND, NULL); }
static long unmount(void) { return umount2(argument, MNT_DETACH); }
static long fsopen_tmpfs(void) { return RAW(SYS_fsopen, "tmpfs", 0); }
static long open_tree_clone(void) { return RAW(SYS_open_tree, AT_FDCWD, "/", 1); }
static long mount_setattr_root(void) {
	unsigned long long attributes[4] = {0, 0, 1ULL << 18, 0}; /* private */
	return RAW(SYS_mount_setattr, AT_FDCWD, "/", 0, attributes, sizeof attributes);
}
static long pivot(void) { return RAW(SYS_pivot_root, "/tmp", "/tmp"); }
static long unshare_user(void) { return unshare(CLONE_NEWUSER); }
static long unshare_mounts(void) { return unshare(CLONE_NEWNS); }
static long unshare_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static long cloned(long pid) {
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid;
}
static long clone_user(void) { return cloned(RAW(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static long clone_pid(void) { return cloned(RAW(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0)); }
static long clone3_user(void) {
	unsigned long long arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
	return cloned(RAW(SYS_clone3, arguments, sizeof arguments));
}
static long setns_own(void) { return setns(open("/proc/self/ns/uts", O_RDONLY), 0); }
static long hostname(void) { return sethostname("x", 1); }
static long domainname(void) { return setdomainname("x", 1); }

/* other processes */
static long ptrace_parent(void) { return RAW(SYS_ptrace, 0x4206 /* SEIZE */, getppid(), 0, 0); }
static long read_parent(void) {
	char byte;
	struct iovec here = {&byte, 1}, there = {(void *)strtoul(argument, NULL, 16), 1};
	long got = process_vm_readv(getppid(), &here, 1, &there, 1, 0);
	return got < 0 && errno == EFAULT ? 0 : got; /* it was allowed to look */
}
static long compare_parent(void) { return RAW(SYS_kcmp, getpid(), getppid(), 1, 0, 0); }
static long steal_descriptor(void) { return RAW(SYS_pidfd_getfd, RAW(SYS_pidfd_open, getppid(), 0), 0, 0); }
static long realtime(void) {
	struct sched_param parameter = {1};
	return sched_setscheduler(0, SCHED_FIFO, &parameter);
}

/* kernel surface */
static long get_keyring(void) { return RAW(SYS_keyctl, 0, -3, 1); }
static long add_a_key(void) { return RAW(SYS_add_key, "user", "tare", "x", 1, -2); }
static long bpf_map(void) {
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	return RAW(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}
static long perf(void) {
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr};
	return RAW(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static long io_uring(void) {
	char parameters[120] = {0};
	return RAW(SYS_io_uring_setup, 1, parameters);
}
static long user_faults(void) { return RAW(SYS_userfaultfd, 0); }
static long fanotify(void) { return RAW(SYS_fanotify_init, 0, 0); }
static long memory_policy(void) { return RAW(SYS_set_mempolicy, 0, NULL, 0); }
static long read_kernel_log(void) {
	char text[64];
	return RAW(SYS_syslog, 3, text, sizeof text);
}
static long file_handle(void) {
	struct {
		struct file_handle head;
		char room[128];
	} handle = {.head.handle_bytes = 128};
	int mount_id;
	if (name_to_handle_at(AT_FDCWD, argument, &handle.head, &mount_id, 0) < 0)
		return -1;
	return open_by_handle_at(open(argument, O_RDONLY), &handle.head, O_RDONLY);
}
static long open_socket(void) {
	int family, type, protocol;
	sscanf(argument, "%d/%d/%d", &family, &type, &protocol);
	return socket(family, type, protocol);
}
static long into_terminal(unsigned long request) {
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master))
		return -1;
	int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	return terminal < 0 ? -1 : RAW(SYS_ioctl, terminal, request, "x");
}
static long tiocsti(void) { return into_terminal(0x5412); }
static long tiocsti_high_bits(void) { return into_terminal(0x100005412); }
static long tioclinux(void) { return into_terminal(0x541c); }
static long no_randomisation(void) { return personality(0x0040000); }
static long readable_is_executable(void) { return personality(0x0400000); }
static long unknown_call(void) { return RAW(UNKNOWN_SYSCALL); }

/* the machine, with arguments that no kernel accepts */
static long restart(void) { return RAW(SYS_reboot, 0, 0, 0, NULL); }
static long kexec(void) { return RAW(SYS_kexec_load, 0, 1000, NULL, 0xffff); }
static long kexec_file(void) { return RAW(SYS_kexec_file_load, -1, -1, 0, NULL, 0xffff); }
static long set_clock(void) {
	struct timespec never = {0, -1};
	return RAW(SYS_clock_settime, CLOCK_REALTIME, &never); /* the C library looks at it first */
}
static long set_time(void) {
	struct timeval never = {0, -1};
	return RAW(SYS_settimeofday, &never, NULL);
}
static long tune_clock(void) {
	struct timex never = {.modes = ADJ_TICK, .tick = 1};
	return adjtimex(&never);
}
static long load_module(void) { return RAW(SYS_init_module, NULL, 4096, ""); }
static long load_module_file(void) { return RAW(SYS_finit_module, -1, "", 0); }
static long unload_module(void) { return RAW(SYS_delete_module, "no_such_module", 0); }
static long swap_on(void) { return RAW(SYS_swapon, "/no/such/file", 0); }
static long swap_off(void) { return RAW(SYS_swapoff, "/no/such/file"); }
static long accounting(void) { return RAW(SYS_acct, "/no/such/file"); }
static long quota(void) { return RAW(SYS_quotactl, -1, NULL, 0, NULL); }

/* devices and files */
static long make_node(void) {
	unsigned kind, major_number, minor_number;
	sscanf(argument, "%o/%u/%u", &kind, &major_number, &minor_number);
	unlink("/tmp/node");
	return mknod("/tmp/node", kind | 0600, makedev(major_number, minor_number));
}
static long open_to_write(void) { return open(argument, O_WRONLY); }
static long read_a_byte(void) {
	char byte;
	int file = open(argument, O_RDONLY);
	long got = file < 0 ? -1 : read(file, &byte, 1);
	if (got == 0)
		errno = ENODATA;
	return got > 0 ? 0 : -1;
}
static long list_folder(void) {
	int entries = 0;
	DIR *folder = opendir(argument);
	if (folder == NULL)
		return -1;
	while (readdir(folder) != NULL)
		entries++;
	errno = ENODATA;
	return entries > 2 ? 0 : -1;
}
static long make_folder(void) { return mkdir(argument, 0700) ? -1 : rmdir(argument); }
static long open_folder_descriptor(void) { /* what the first process holds open and leads out of the box */
	char path[64];
	struct stat status;
	for (int number = 0; number < 1024; number++) {
		snprintf(path, sizeof path, "/proc/%s/fd/%d/", argument, number);
		if (stat(path, &status) == 0 && chdir(path) == 0)
			return 0;
	}
	errno = ENOENT;
	return -1;
}

static long flood_descriptors(void) { /* of one process, until something says stop */
	struct rlimit most;
	getrlimit(RLIMIT_NOFILE, &most);
	most.rlim_cur = most.rlim_max;
	setrlimit(RLIMIT_NOFILE, &most);
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	return -1;
}
static long flood_watches(void) {
	while (inotify_init() >= 0)
		;
	return -1;
}

/* the host's network */
static long connect_abstract(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path + 1, argument, strlen(argument));
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(argument);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, size);
}
static long connect_loopback(void) {
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argument))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

/* privileges */
static long regain_capabilities(void) {
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{1 << CAP_SYS_ADMIN, 1 << CAP_SYS_ADMIN, 0}, {0, 0, 0}};
	return RAW(SYS_capset, &header, data);
}
static long is_root(void) {
	errno = EPERM;
	return geteuid() == 0 ? 0 : -1;
}
static long by_set_user_id(void) { /* `argument` is this program with the bit set */
	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return -1;
	execl(argument, argument, "is_root", NULL);
	return -1;
}

#ifdef __x86_64__
static long x32_getpid(void) { return RAW(X32 | SYS_getpid); }
static long i386_getpid(void) {
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return result;
}
static long raw_ports(void) { return RAW(SYS_iopl, 3); }
static long one_raw_port(void) { return RAW(SYS_ioperm, 0x80, 1, 1); }
static long segments(void) { return RAW(SYS_modify_ldt, 0, NULL, 0); }
#endif

static const struct {
	const char *name;
	long (*run)(void);
} attempts[] = {
#define A(name) {#name, name}
	A(mount_tmpfs), A(mount_proc), A(bind_mount), A(remount), A(unmount), A(fsopen_tmpfs), A(open_tree_clone),
	A(mount_setattr_root), A(pivot), A(unshare_user), A(unshare_mounts), A(unshare_cgroup), A(clone_user),
	A(clone_pid), A(clone3_user), A(setns_own), A(hostname), A(domainname), A(ptrace_parent), A(read_parent),
	A(compare_parent), A(steal_descriptor), A(realtime), A(get_keyring), A(add_a_key), A(bpf_map), A(perf),
	A(io_uring), A(user_faults), A(fanotify), A(memory_policy), A(read_kernel_log), A(file_handle), A(open_socket),
	A(tiocsti), A(tiocsti_high_bits), A(tioclinux), A(no_randomisation), A(readable_is_executable), A(unknown_call),
	A(restart), A(kexec), A(kexec_file), A(set_clock), A(set_time), A(tune_clock), A(load_module),
	A(load_module_file), A(unload_module), A(swap_on), A(swap_off), A(accounting), A(quota), A(make_node),
	A(open_to_write), A(read_a_byte), A(list_folder), A(make_folder), A(open_folder_descriptor),
	A(flood_descriptors), A(flood_watches), A(connect_abstract), A(connect_loopback), A(regain_capabilities), A(is_root), A(by_set_user_id),
#ifdef __x86_64__
	A(x32_getpid), A(i386_getpid), A(raw_ports), A(one_raw_port), A(segments),
#endif
};

int main(int count, char **words) {
	if (count > 2)
		argument = words[2];
	for (size_t index = 0; count > 1 && index < sizeof attempts / sizeof *attempts; index++) {
		if (strcmp(words[1], attempts[index].name) == 0) {
			long result = attempts[index].run();
			puts(result >= 0 ? "ok" : strerrorname_np(errno));
			return 0;
		}
	}
	return 2;
}
