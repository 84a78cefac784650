#!/bin/sh
# PCI devices as sysfs has them: address, class, vendor and device, driver. With -v also what modprobe takes.
case $1 in
'' | -v | -n | -k) ;;
*) echo 'usage: lspci [-v]: PCI devices with class, vendor:device and driver; -v: also the modalias' >&2; exit 1 ;;
esac
for device in /sys/bus/pci/devices/*; do
	[ -e "$device/vendor" ] || continue
	read -r class <"$device/class"
	read -r vendor <"$device/vendor"
	read -r product <"$device/device"
	driver='no driver'
	[ -e "$device/driver" ] && driver=$(basename "$(readlink "$device/driver")")
	class=${class#0x}
	echo "${device##*/} ${class%??}: ${vendor#0x}:${product#0x} $driver"
	[ "$1" = -v ] && read -r alias <"$device/modalias" && echo "	$alias"
done
exit 0
