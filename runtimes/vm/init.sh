#!/bin/busybox sh
# The first process of the guest: loads what the disk and the agent's port need, mounts the disk, becomes the agent.
#
# Its first act is the marker on the console: there the host's clock divides the start into kernel and userspace.
# Modules lie in load order. The console's driver comes first, because its port appears only after a message from the
# host, which arrives while the disk is being mounted.
#
# Where the image is a disk that nobody can write to, it is named (tare_lower) and the box's own lies over it.
#
# The boot loader's kernel is told which partition is the root (tare_root, an environment variable by now). Where there
# is a unit for the agent and systemd to start it, systemd becomes the first process instead.

echo "tare: init"
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in /modules/*; do
	[ ! -e "$module" ] || /bin/busybox insmod "$module"
done
# No lazy initialisation of inode tables: it would write to the box's disk behind everyone's back.
if [ "$tare_lower" ]; then
	/bin/busybox mkdir /lower /upper
	/bin/busybox mount -t erofs -o ro "$tare_lower" /lower &&
		/bin/busybox mount -t ext4 -o noinit_itable /dev/vda /upper &&
		/bin/busybox mount -t overlay -o xino=on,lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work box /box
else
	/bin/busybox mount -t ext4 -o noinit_itable "${tare_root:-/dev/vda}" /box
fi || exec /bin/busybox poweroff -f
# A machine that boots its disk has a power button, and somebody hears it: systemd, or else a child of ours. It is opened
# before the child is made, so that no press is missed.
[ -f /@UNIT@ ] && [ ! -x /box/usr/lib/systemd/systemd ] && for entry in /sys/class/input/event*; do
	read -r name <"$entry/device/name" && [ "$name" = "Power Button" ] || continue
	exec 3<"/dev/input/${entry##*/}"
	{ /bin/busybox dd bs=24 count=1 <&3 >/dev/null 2>&1 && exec /bin/busybox poweroff -f; } &
	exec 3<&-
done
for folder in dev proc sys; do
	[ -d "/box/$folder" ] || /bin/busybox mkdir "/box/$folder"
	/bin/busybox mount -o move "/$folder" "/box/$folder"
done

port=
until [ "$port" ]; do
	for entry in /box/sys/class/virtio-ports/*; do
		[ -r "$entry/name" ] && read -r name <"$entry/name" && [ "$name" = @PORT@ ] && port=/dev/${entry##*/}
	done
	[ "$port" ] || /bin/busybox usleep 1000
done
# A network device is virtio's kind 1. Its hardware address ends in the IP address that the host has chosen, whose
# subnet begins with the host's own.
for entry in /box/sys/bus/virtio/devices/*; do
	read -r kind <"$entry/device" && [ "$kind" = 0x0001 ] || continue
	for module in /network/*; do
		[ ! -e "$module" ] || /bin/busybox insmod "$module"
	done
	IFS=: read -r _ _ a b c d </box/sys/class/net/eth0/address
	/bin/busybox ifconfig lo 127.0.0.1
	/bin/busybox ifconfig eth0 "$((0x$a)).$((0x$b)).$((0x$c)).$((0x$d))" netmask @NETMASK@
	/bin/busybox route add default gw "$((0x$a)).$((0x$b)).$((0x$c & @THIRD@)).1"
done
# What switch_root does, but for deleting what is here: 100 ms of emulation to win 2 MB back.
cd /box
if [ -f /@UNIT@ ] && [ -x usr/lib/systemd/systemd ]; then
	/bin/busybox mount -t tmpfs -o mode=755 run run
	units=run/systemd/system
	/bin/busybox mkdir -p $units/multi-user.target.wants
	/bin/busybox cp /@UNIT@ $units/
	echo "Environment=TARE_PORT=$port" >>$units/@UNIT@
	/bin/busybox ln -s ../@UNIT@ $units/multi-user.target.wants/
	/bin/busybox mount -o move . /
	exec /bin/busybox chroot . /usr/lib/systemd/systemd
fi
/bin/busybox mount -o move . /
exec /bin/busybox env -i @ENVIRONMENT@ "TARE_PORT=$port" \
	/bin/busybox chroot . @AGENT@
