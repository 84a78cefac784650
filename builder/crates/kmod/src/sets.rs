//! Sets of modules with one name: what a way to boot, or a kind of machine, needs. Names only; which of them a kernel has is
//! found out elsewhere.

/// A name that stands for several modules. It is asked for with an `@` before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// The name without the `@`.
    pub name: &'static str,
    /// Its purpose, as a line of help.
    pub about: &'static str,
    /// The modules. Those that the kernel has neither as a module nor built in are noted, not missed.
    pub members: &'static [&'static str],
}

/// All sets.
pub const SETS: &[Set] = &[
    Set {
        name: "overlay",
        about: "the filesystems of the overlay root: ext4, squashfs, erofs, overlayfs, loop devices, vfat",
        members: &["ext4", "loop", "squashfs", "erofs", "overlay", "vfat"],
    },
    Set {
        name: "virtio",
        about: "disks of virtual machines: virtio over PCI or memory-mapped, as block devices or SCSI disks",
        members: &["virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod"],
    },
    Set {
        name: "storage",
        about: "disks of real machines: SATA, NVMe, USB, SD cards and eMMC, with their usual host controllers",
        members: &[
            "ahci", "ata_piix", "sd_mod", "nvme", "xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd", "usb_storage", "uas",
            "sdhci_pci", "sdhci_acpi", "mmc_block",
        ],
    },
    Set {
        name: "keyboard",
        about: "keyboards: PS/2, USB with the usual host controllers, virtual machines",
        members: &[
            "i8042", "atkbd", "xhci_pci", "xhci_plat_hcd", "ehci_pci", "ehci_platform", "ohci_pci", "ohci_platform",
            "uhci_hcd", "dwc2", "usbhid", "hid_generic", "hyperv_keyboard", "virtio_input",
        ],
    },
    Set {
        name: "button",
        about: "buttons of boards, and asking whether a key is held (rd.button=)",
        members: &["evdev", "gpio_keys", "gpio_keys_polled"],
    },
    Set {
        name: "network",
        about: "common network cards: PCI, USB adapters, boards, virtual machines",
        members: &[
            "e1000", "e1000e", "igb", "igc", "r8169", "8139too", "8139cp", "pcnet32", "tg3", "virtio_net", "vmxnet3",
            "hv_netvsc", "asix", "ax88179_178a", "cdc_ether", "cdc_ncm", "r8152", "smsc95xx", "lan78xx", "genet",
            "macb", "dwmac_sun8i",
        ],
    },
];

/// Returns the set with this name, given without its `@`.
pub fn find(name: &str) -> Option<&'static Set> {
    SETS.iter().find(|set| set.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spelt_as_the_kernel_does() {
        for set in SETS {
            for (place, member) in set.members.iter().enumerate() {
                assert!(super::super::names::is_plain(member), "{member}");
                assert!(!set.members[..place].contains(member), "{member} twice in {}", set.name);
            }
        }
    }
}
