#!/bin/sh
# What is in a squashfs or EROFS image, by the kernel's own driver: it is mounted to be read for as long as that takes.
usage() {
	echo 'usage: unsquashfs -l|-ll IMAGE [PATH]...: list a squashfs or EROFS image; -ll: with modes, owners and sizes' >&2
	echo '       unsquashfs -cat IMAGE PATH...: write files of it to the standard output' >&2
	exit 2
}
case $1 in
-l | -ll | -cat) [ $# -ge 2 ] || usage ;;
*) usage ;;
esac
action=$1 image=$2
shift 2
[ "$action" != -cat ] || [ $# -gt 0 ] || usage
[ -e /dev/loop-control ] || modprobe loop 2>/dev/null
type=erofs
[ "$(head -c 4 "$image")" = hsqs ] && type=squashfs
place=/run/unsquashfs.$$
mkdir -m 700 "$place" || exit 1
leave() {
	cd /
	umount "$place" 2>/dev/null
	rmdir "$place"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mount -t "$type" -o ro,loop,nosuid,nodev,noexec "$image" "$place" || exit 1
cd "$place" || exit 1
status=0
# Names of an image may hold anything, and must not drive a terminal.
plain() { tr '\001-\011\013-\037\177' '?'; }
[ $# -gt 0 ] || set -- .
for path; do
	path=${path#/}
	[ "$path" = . ] || path=./$path
	# A link in the image may lead out of it.
	case $(realpath "$(dirname "$path")" 2>/dev/null) in
	"$place" | "$place"/*) ;;
	*) echo "unsquashfs: $image has no ${path#./}, or only behind a link out of it" >&2; status=1; continue ;;
	esac
	[ -e "$path" ] || [ -L "$path" ] || { echo "unsquashfs: $image has no ${path#./}" >&2; status=1; continue; }
	case $action in
	-l) find "$path" | plain | sed 's,^\.,squashfs-root,' ;;
	-ll) find "$path" -exec ls -ld {} + | plain | sed -e 's, \./, squashfs-root/,' -e t -e 's, \.$, squashfs-root,' ;;
	-cat)
		if [ -f "$path" ] && [ ! -L "$path" ]; then
			cat "$path" || status=1
		else
			echo "unsquashfs: ${path#./} is not a file" >&2
			status=1
		fi
		;;
	esac
done
exit $status
