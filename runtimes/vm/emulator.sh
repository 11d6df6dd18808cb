#!/bin/sh
# What libvirt starts instead of QEMU: puts itself into the cgroup of its box, then becomes QEMU.
#
# The driver has written the box's task files to `boxes/NAME` beside this script, and reads our pid from a pipe there.
# Without such a list (libvirt asking what QEMU can do) there is nothing to enter. A box that cannot enter its cgroup
# must not run.

for word; do
	case $word in
	guest=*)
		name=${word#guest=}
		list=${0%/*}/boxes/${name%%,*}
		if [ -r "$list" ]; then
			while read -r tasks; do
				echo 0 >"$tasks" || exit 1
			done <"$list"
			echo $$ >"$list.pid"
		fi
		break
		;;
	esac
done
exec @QEMU@ "$@"
