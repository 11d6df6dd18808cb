# Fixed work for the cpu scenario: `cpu KERNEL SIZE`. Sizes differ in the count of repetitions alone.
set -e
case $2 in
small) times=1 ;;
standard) times=10 ;;
*)
	echo "unknown size $2" >&2
	exit 2
	;;
esac
case $1 in
integer)
	i=0 sum=0 end=$((60000 * times))
	while [ $i -lt $end ]; do
		sum=$(((sum + i * 7) % 1000003))
		i=$((i + 1))
	done
	;;
float) awk -v n=$((120000 * times)) 'BEGIN { for (i = 1; i <= n; i++) s = s * 0.9999 + i / 3.7; print s }' >/dev/null ;;
compress) yes 'the quick brown fox jumps over the lazy dog 0123456789' | head -c $((4000000 * times)) | gzip >/dev/null ;;
crypto) head -c $((10000000 * times)) /dev/zero | sha256sum >/dev/null ;;
fork)
	i=0 end=$((60 * times))
	while [ $i -lt $end ]; do
		"$TARE_ROOT/bin/true"
		i=$((i + 1))
	done
	;;
syscall) dd if=/dev/zero of=/dev/null bs=1 count=$((100000 * times)) 2>/dev/null ;;
memory) dd if=/dev/zero of=/dev/null bs=33554432 count=$((8 * times)) 2>/dev/null ;;
*)
	echo "unknown kernel $1" >&2
	exit 2
	;;
esac
