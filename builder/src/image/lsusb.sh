#!/bin/sh
# USB devices as sysfs has them: place, vendor and product, names, drivers of the interfaces.
case $1 in
'' | -v) ;;
*) echo 'usage: lsusb [-v]: USB devices with vendor:product, names and drivers; -v: also the modaliases' >&2; exit 1 ;;
esac
word() { [ -r "$1" ] && cat "$1"; }
for device in /sys/bus/usb/devices/*; do
	[ -e "$device/idVendor" ] || continue
	drivers=
	for interface in "$device"/*:*; do
		[ -e "$interface/bInterfaceClass" ] || continue
		driver=none
		[ -e "$interface/driver" ] && driver=$(basename "$(readlink "$interface/driver")")
		drivers="$drivers $driver"
	done
	names="$(word "$device/manufacturer") $(word "$device/product")"
	echo "${device##*/} $(word "$device/idVendor"):$(word "$device/idProduct") $names (${drivers# })"
	[ "$1" = -v ] && for interface in "$device"/*:*; do echo "	$(word "$interface/modalias")"; done
done
exit 0
