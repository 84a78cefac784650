//! Block devices in the sysfs of a described machine.

use contract::tag::Volume;

/// A name in sysfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The names in a directory.
    Directory(Vec<String>),
    /// The content of a file.
    File(Vec<u8>),
    /// The target of a symbolic link.
    Link(String),
}

/// Returns what sysfs shows at `path` where there are these block devices and the disks that they are a part of, in this order.
pub fn entry(volumes: &[&Volume], path: &str) -> Option<Entry> {
    let path = path.strip_prefix("/sys/class/block")?;
    let Some(path) = path.strip_prefix('/') else {
        let mut names: Vec<String> = volumes.iter().map(|volume| volume.name.clone()).collect();
        for volume in volumes {
            if !names.contains(&volume.disk) {
                names.push(volume.disk.clone());
            }
        }
        return Some(Entry::Directory(names));
    };
    let (name, file) = path.split_once('/').unwrap_or((path, ""));
    let volume = volumes.iter().find(|volume| volume.name == name);
    let part = volume.filter(|volume| volume.disk != volume.name);
    if volume.is_none() && !volumes.iter().any(|volume| volume.disk == name) {
        return None;
    }
    let text = match file {
        "" => {
            let disk = part.map_or(String::new(), |volume| format!("{}/", volume.disk));
            return Some(Entry::Link(format!("../../devices/{disk}{name}")));
        }
        "size" => volume.map_or(1, |volume| volume.size.div_ceil(512).max(1)).to_string(),
        "uevent" => volume
            .and_then(|volume| volume.part_label.as_ref())
            .map_or(String::new(), |label| format!("PARTNAME={label}")),
        "partition" => part.map(|_| "1".to_owned())?,
        _ => return None,
    };
    Some(Entry::File(format!("{text}\n").into_bytes()))
}

/// Gives `volume` what probing says of the `described` device of that name.
pub fn probe(described: &[&Volume], volume: &mut Volume, details: bool) {
    let Some(known) = described.iter().find(|known| known.name == volume.name) else { return };
    (volume.kind, volume.label) = (known.kind.clone(), known.label.clone());
    if details {
        (volume.uuid, volume.part_label) = (known.uuid.clone(), known.part_label.clone());
        volume.part_uuid.clone_from(&known.part_uuid);
    }
}
