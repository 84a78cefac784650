#!/bin/sh
# PCI devices as sysfs has them: address, class, vendor, device, driver. With -v also what modprobe takes.
case $1 in
'' | -v | -n | -k) ;;
*) echo 'usage: lspci [-v]: PCI devices with class, vendor:device and driver; -v: also the modalias' >&2; exit 2 ;;
esac
# PCI Code and ID Assignment Specification, 1: a class and its subclass.
class_of() {
	case $1 in
	0100) echo SCSI ;; 0101) echo IDE ;; 0104) echo RAID ;; 0105) echo ATA ;; 0106) echo SATA ;; 0107) echo SAS ;;
	0108) echo NVMe ;; 01??) echo storage ;; 0200) echo Ethernet ;; 02??) echo network ;; 0300) echo VGA ;;
	03??) echo display ;; 0401 | 0403) echo audio ;; 04??) echo multimedia ;; 05??) echo memory ;;
	0600) echo host bridge ;; 0601) echo ISA bridge ;; 0604) echo PCI bridge ;; 0607) echo CardBus bridge ;;
	06??) echo bridge ;; 0700) echo serial port ;; 0703) echo modem ;; 07??) echo communication ;;
	0805) echo SD host ;; 0806) echo IOMMU ;; 08??) echo system ;; 09??) echo input ;; 0c00) echo FireWire ;;
	0c03) echo USB host ;; 0c05) echo SMBus ;; 0c07) echo IPMI ;; 0c??) echo bus ;; 0d??) echo wireless ;;
	10??) echo encryption ;; 11??) echo signal processing ;; 12??) echo accelerator ;; *) echo other ;;
	esac
}
# Common vendors, by the number that each has registered.
vendor_of() {
	case $1 in
	1000) echo LSI ;; 1002 | 1022) echo AMD ;; 1014) echo IBM ;; 1028) echo Dell ;; 102b) echo Matrox ;;
	1033) echo NEC ;; 103c) echo HP ;; 104c) echo Texas Instruments ;; 1077) echo QLogic ;; 10b5) echo PLX ;;
	10de) echo NVIDIA ;; 10ec) echo Realtek ;; 10ee) echo Xilinx ;; 1106) echo VIA ;; 1137) echo Cisco ;;
	1179) echo Toshiba ;; 1180) echo Ricoh ;; 11ab | 1b4b) echo Marvell ;; 1217) echo O2 Micro ;; 1234) echo QEMU ;;
	126f) echo Silicon Motion ;; 1344) echo Micron ;; 1414) echo Microsoft ;; 144d) echo Samsung ;;
	14c3) echo MediaTek ;; 14e4) echo Broadcom ;; 15ad) echo VMware ;; 15b3) echo Mellanox ;; 15b7) echo SanDisk ;;
	168c | 17cb | 1969) echo Qualcomm ;; 1912) echo Renesas ;; 1957) echo Freescale ;; 197b) echo JMicron ;;
	1987) echo Phison ;; 1a03) echo ASPEED ;; 1ae0) echo Google ;; 1af4 | 1b36) echo Red Hat ;; 1b21) echo ASMedia ;;
	1c5c) echo SK hynix ;; 1cc1) echo ADATA ;; 1d0f) echo Amazon ;; 1e0f) echo KIOXIA ;; 2646) echo Kingston ;;
	8086) echo Intel ;; 80ee) echo VirtualBox ;; 9005) echo Adaptec ;; c0a9) echo Crucial ;; *) echo '?' ;;
	esac
}
for device in /sys/bus/pci/devices/*; do
	[ -e "$device/vendor" ] || continue
	read -r class <"$device/class"
	read -r vendor <"$device/vendor"
	read -r product <"$device/device"
	driver='no driver'
	[ -e "$device/driver" ] && driver=$(basename "$(readlink "$device/driver")")
	class=${class#0x} vendor=${vendor#0x}
	class=${class%??}
	name="$(class_of "$class"), $(vendor_of "$vendor")"
	echo "${device##*/} $class: $vendor:${product#0x} ($name) $driver"
	[ "$1" = -v ] && read -r alias <"$device/modalias" && echo "	$alias"
done
exit 0
