#!/bin/sh
# USB devices as sysfs has them: place, vendor and product, names, classes and drivers of the interfaces.
case $1 in
'' | -v) ;;
*) echo 'usage: lsusb [-v]: USB devices with vendor:product, names, classes and drivers; -v: also the modaliases' >&2; exit 2 ;;
esac
word() { [ -r "$1" ] && cat "$1"; }
# USB-IF, Defined Class Codes.
class_of() {
	case $1 in
	01) echo audio ;; 02) echo communication ;; 03) echo input ;; 06) echo camera ;; 07) echo printer ;;
	08) echo storage ;; 09) echo hub ;; 0a) echo data ;; 0b) echo smart card ;; 0e) echo video ;;
	e0) echo wireless ;; ef) echo other ;; ff) echo "vendor's own" ;; *) echo "class $1" ;;
	esac
}
for device in /sys/bus/usb/devices/*; do
	[ -e "$device/idVendor" ] || continue
	drivers=
	for interface in "$device"/*:*; do
		[ -e "$interface/bInterfaceClass" ] || continue
		driver=none
		[ -e "$interface/driver" ] && driver=$(basename "$(readlink "$interface/driver")")
		drivers="$drivers, $(class_of "$(cat "$interface/bInterfaceClass")") $driver"
	done
	names="$(word "$device/manufacturer") $(word "$device/product")"
	echo "${device##*/} $(word "$device/idVendor"):$(word "$device/idProduct") $names (${drivers#, })"
	[ "$1" = -v ] && for interface in "$device"/*:*; do echo "	$(word "$interface/modalias")"; done
done
exit 0
