#!/bin/sh
# BusyBox's dd, which tells how far it is on SIGUSR1; status=progress has it told each second.
progress=
for word; do
	shift
	if [ "$word" = status=progress ]; then progress=yes; else set -- "$@" "$word"; fi
done
[ "$progress" ] || exec busybox dd "$@"
exec 3<&0
busybox dd "$@" <&3 &
copier=$!
# What runs in the background does not get Ctrl-C.
trap 'kill $copier 2>/dev/null' INT TERM HUP
while sleep 1 && kill -USR1 $copier 2>/dev/null; do :; done
wait $copier
