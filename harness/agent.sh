# The agent: the first thing that runs in every box, the same file for all of them.
#
# It is started by the image's own static busybox, `busybox sh agent`, and speaks one line protocol on one byte
# stream: standard input and output, or the port named in TARE_PORT (a virtual machine's virtio-serial port).
#
#   agent → host   R                                once: the box is ready; the first byte is the time stamp
#   host  → agent  run ID ARGUMENT…                 arguments quoted as $'…'
#   agent → host   done ID CODE OUT-BYTES ERR-BYTES then that many bytes of output and of error output
#   host  → agent  hello                             a box that was brought back shall say `R` once more
#   host  → agent  quit
#
# TARE_ROOT is where the image's tree lies (empty inside a box, a path for a plain process); TARE_TMP is a folder to
# write to. Only shell built-ins run before `R`, so that being ready costs the same everywhere.

if [ -n "$TARE_PORT" ]; then
	exec 0<>"$TARE_PORT" 1>&0 # once: a virtio port cannot be opened a second time
fi
printf 'R\n'

# The image's own file wins over a busybox applet of the same name: what runs is what the image holds.
find_program() {
	case $1 in
	*/*) program=$1; return ;;
	esac
	saved_ifs=$IFS
	IFS=:
	for folder in $PATH; do
		if [ -x "$folder/$1" ]; then
			IFS=$saved_ifs
			program=$folder/$1
			return
		fi
	done
	IFS=$saved_ifs
	program=$1
}

run() {
	id=$1
	shift
	find_program "$1"
	shift
	"$program" "$@" <"$null" >"$TARE_TMP/out" 2>"$TARE_TMP/err"
	code=$?
	set -- $(stat -c %s "$TARE_TMP/out" "$TARE_TMP/err")
	printf 'done %s %s %s %s\n' "$id" "$code" "$1" "$2"
	[ "$1" = 0 ] || cat "$TARE_TMP/out"
	[ "$2" = 0 ] || cat "$TARE_TMP/err"
}

null=/dev/null
while IFS= read -r line; do
	case $line in
	"run "*) eval "run ${line#run }" ;;
	hello) printf 'R\n' ;;
	quit) break ;;
	esac
done
