//! Tags of partitions, and the choice among the block devices that answer to one. Pure: the devices are found elsewhere.

use std::{fmt, str::FromStr};

use crate::hex;

/// A name of a partition in a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// `LABEL=`: the filesystem's label.
    Label(String),
    /// `UUID=`: the filesystem's UUID.
    Uuid(String),
    /// `PARTLABEL=`: the name in a GPT.
    PartLabel(String),
    /// `PARTUUID=`: the partition's UUID in a GPT, or disk signature and number in an MBR.
    PartUuid(String),
    /// A device path below `/dev`.
    Path(String),
}

impl Tag {
    /// Returns true if more than a label has to be read to answer it.
    pub fn needs_details(&self) -> bool {
        matches!(self, Self::Uuid(_) | Self::PartLabel(_) | Self::PartUuid(_))
    }
}

/// Directory of the links that udev makes to devices. There is no udev in the initramfs.
const UDEV_LINKS: &str = "/dev/disk/";

/// The objection to a link that udev makes from more than the device itself says.
const NO_UDEV: &str =
    "LABEL=X, UUID=X, PARTLABEL=X, PARTUUID=X or the kernel's own name of the device: there is no udev here";

/// Returns the tag that a link of udev stands for: one whose name comes from a label or a UUID.
fn udev_link(path: &str) -> Option<Tag> {
    let (kind, name) = path.strip_prefix(UDEV_LINKS)?.split_once('/')?;
    let name = unescape(name);
    match kind {
        "by-label" => Some(Tag::Label(name)),
        "by-uuid" => Some(Tag::Uuid(name.to_ascii_lowercase())),
        "by-partlabel" => Some(Tag::PartLabel(name)),
        "by-partuuid" => Some(Tag::PartUuid(name.to_ascii_lowercase())),
        _ => None,
    }
}

/// Resolves `\\x20` and its like, by which udev writes what a file name should not hold (udev_util, `encode_devnode_name`).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        match after.split_at_checked(2).and_then(|(digits, after)| Some((hex::decode(digits)?, after))) {
            Some((byte, after)) => {
                bytes.extend(byte);
                rest = after;
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "LABEL=X, UUID=X, PARTLABEL=X, PARTUUID=X or a device path (/dev/X)";
        let tag = match text.split_once('=') {
            Some(("LABEL", value)) => Self::Label(value.into()),
            Some(("UUID", value)) => Self::Uuid(value.to_ascii_lowercase()),
            Some(("PARTLABEL", value)) => Self::PartLabel(value.into()),
            Some(("PARTUUID", value)) => Self::PartUuid(value.to_ascii_lowercase()),
            _ if text.starts_with(UDEV_LINKS) => udev_link(text).ok_or(NO_UDEV)?,
            _ if text.starts_with("/dev/") && !text.split('/').any(|part| part == "..") => Self::Path(text.into()),
            _ => return Err(WANTED),
        };
        match &tag {
            Self::Label(value) | Self::Uuid(value) | Self::PartLabel(value) | Self::PartUuid(value)
                if value.is_empty() =>
            {
                Err(WANTED)
            }
            _ => Ok(tag),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(value) => write!(f, "LABEL={value}"),
            Self::Uuid(value) => write!(f, "UUID={value}"),
            Self::PartLabel(value) => write!(f, "PARTLABEL={value}"),
            Self::PartUuid(value) => write!(f, "PARTUUID={value}"),
            Self::Path(value) => f.write_str(value),
        }
    }
}

/// A block device as the kernel lists it, with what probing it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Kernel's name: `vda2`, `mmcblk0p2`.
    pub name: String,
    /// The whole disk it is a part of; its own name when it is a whole disk.
    pub disk: String,
    /// Size in bytes.
    pub size: u64,
    /// Filesystem type, as libblkid names it.
    pub kind: Option<String>,
    /// The filesystem's label.
    pub label: Option<String>,
    /// The filesystem's UUID, lower case.
    pub uuid: Option<String>,
    /// The partition's name in the table.
    pub part_label: Option<String>,
    /// The partition's UUID in the table, lower case.
    pub part_uuid: Option<String>,
}

impl Volume {
    /// Returns the device node.
    pub fn path(&self) -> String {
        // The kernel writes `!` in sysfs for a `/` in a device's name.
        format!("/dev/{}", self.name.replace('!', "/"))
    }

    /// Returns true if `tag` names this device.
    pub fn matches(&self, tag: &Tag) -> bool {
        match tag {
            // FAT keeps labels in upper case, so `LABEL=boot` has to find `BOOT`.
            Tag::Label(wanted) => self.label.as_ref().is_some_and(|label| {
                label == wanted
                    || (self.kind.as_deref().is_some_and(|kind| kind == "vfat" || kind == "exfat")
                        && label.eq_ignore_ascii_case(wanted))
            }),
            Tag::Uuid(wanted) => self.uuid.as_ref() == Some(wanted),
            Tag::PartLabel(wanted) => self.part_label.as_ref() == Some(wanted),
            Tag::PartUuid(wanted) => self.part_uuid.as_ref() == Some(wanted),
            Tag::Path(wanted) => self.path() == *wanted,
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.kind.as_deref().unwrap_or("no known filesystem"))?;
        if let Some(label) = &self.label {
            write!(f, " LABEL={label}")?;
        }
        if let Some(label) = &self.part_label {
            write!(f, " PARTLABEL={label}")?;
        }
        write!(f, ", {}", crate::text::Size(self.size))
    }
}

/// The answer to "which device is meant?".
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// None of them.
    Missing,
    /// This one.
    One(&'a Volume),
    /// Several, and nothing says which.
    Ambiguous(Vec<&'a Volume>),
}

/// Finds the device that `tag` means. Of several, the one on `img_disk` (the disk that holds `img`) wins if it is the only one there.
pub fn choose<'a>(volumes: &'a [Volume], tag: &Tag, img_disk: Option<&str>) -> Choice<'a> {
    let mut found: Vec<&Volume> = volumes.iter().filter(|volume| volume.matches(tag)).collect();
    if found.len() > 1
        && let Some(disk) = img_disk
        && found.iter().filter(|volume| volume.disk == disk).count() == 1
    {
        found.retain(|volume| volume.disk == disk);
    }
    match found.as_slice() {
        [] => Choice::Missing,
        [one] => Choice::One(one),
        _ => Choice::Ambiguous(found),
    }
}

/// Returns a hint about a device that nearly answers to `tag`: its label differs by case only, or is the other kind of label.
pub fn near(volumes: &[Volume], tag: &Tag) -> Option<String> {
    let (wanted, kind) = match tag {
        Tag::Label(wanted) => (wanted, "PARTLABEL"),
        Tag::PartLabel(wanted) => (wanted, "LABEL"),
        _ => return None,
    };
    volumes.iter().find_map(|volume| {
        let (own, other) = match tag {
            Tag::Label(_) => (&volume.label, &volume.part_label),
            _ => (&volume.part_label, &volume.label),
        };
        let path = volume.path();
        match (own, other) {
            (Some(own), _) if own.eq_ignore_ascii_case(wanted) => {
                Some(format!("the label of {path} is {own}, and case matters"))
            }
            (_, Some(other)) if other == wanted => Some(format!("{path} has {kind}={other} instead")),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, disk: &str, kind: &str, label: &str) -> Volume {
        Volume {
            name: name.into(),
            disk: disk.into(),
            kind: Some(kind.into()),
            label: Some(label.into()),
            ..Volume::default()
        }
    }

    #[test]
    fn tags_are_read_and_written_back() {
        for text in ["LABEL=img", "UUID=ab-12", "PARTLABEL=os image", "PARTUUID=1234-01", "/dev/mmcblk0p2"] {
            assert_eq!(text.parse::<Tag>().map(|tag| tag.to_string()), Ok(text.to_string()));
        }
        assert_eq!("UUID=AB".parse(), Ok(Tag::Uuid("ab".into())));
        for (link, tag) in [
            ("by-label/img", Tag::Label("img".into())),
            ("by-label/my\\x20img\\x2fa", Tag::Label("my img/a".into())),
            ("by-label/odd\\xz\\x2", Tag::Label("odd\\xz\\x2".into())),
            ("by-uuid/AB-12", Tag::Uuid("ab-12".into())),
            ("by-partlabel/os", Tag::PartLabel("os".into())),
            ("by-partuuid/12-01", Tag::PartUuid("12-01".into())),
        ] {
            assert_eq!(format!("/dev/disk/{link}").parse(), Ok(tag), "{link}");
        }
        for link in ["by-id/usb-X", "by-path/pci-0", "by-label", "by-label/", "img"] {
            assert!(format!("/dev/disk/{link}").parse::<Tag>().is_err(), "{link}");
        }
        for text in ["", "img", "label=img", "LABEL=", "/etc/passwd", "/dev/../etc", "vda2"] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_disk_that_holds_img_wins() {
        let volumes = [
            volume("sda2", "sda", "ext4", "overlay"),
            volume("vda1", "vda", "ext4", "img"),
            volume("vda2", "vda", "ext4", "overlay"),
        ];
        let tag = Tag::Label("overlay".into());
        assert!(matches!(choose(&volumes, &tag, Some("vda")), Choice::One(one) if one.name == "vda2"));
        assert!(matches!(choose(&volumes, &tag, None), Choice::Ambiguous(all) if all.len() == 2));
        assert!(matches!(choose(&volumes, &tag, Some("sdb")), Choice::Ambiguous(_)));
        assert_eq!(choose(&volumes, &Tag::Label("none".into()), None), Choice::Missing);
    }

    #[test]
    fn a_label_that_nearly_fits_is_told() {
        let mut named = volume("vda3", "vda", "ext4", "x");
        named.part_label = Some("os".into());
        let volumes = [volume("vda1", "vda", "ext4", "IMG"), named];
        let told = |tag: &str| near(&volumes, &tag.parse().unwrap()).unwrap_or_default();
        assert_eq!(told("LABEL=img"), "the label of /dev/vda1 is IMG, and case matters");
        assert_eq!(told("LABEL=os"), "/dev/vda3 has PARTLABEL=os instead");
        assert_eq!(told("PARTLABEL=x"), "/dev/vda3 has LABEL=x instead");
        assert_eq!((told("LABEL=none"), told("UUID=os")), (String::new(), String::new()));
    }

    #[test]
    fn two_on_the_same_disk_stay_ambiguous() {
        let volumes = [volume("vda1", "vda", "ext4", "img"), volume("vda2", "vda", "ext4", "img")];
        assert!(matches!(choose(&volumes, &Tag::Label("img".into()), Some("vda")), Choice::Ambiguous(_)));
    }

    #[test]
    fn fat_labels_have_no_case() {
        let tag = Tag::Label("boot".into());
        assert!(volume("sda1", "sda", "vfat", "BOOT").matches(&tag));
        assert!(!volume("sda1", "sda", "ext4", "BOOT").matches(&tag));
    }

    #[test]
    fn slashes_in_device_names_come_back() {
        assert_eq!(volume("cciss!c0d0p1", "", "", "").path(), "/dev/cciss/c0d0p1");
    }
}
