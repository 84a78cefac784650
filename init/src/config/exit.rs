//! The place to which the program's status is reported: `rd.exit=`. Pure.

/// A place that takes one byte, the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The device that is written to.
    pub path: String,
    /// The offset in it; 0 for one that has none.
    pub offset: u64,
}

/// The values of `rd.exit`, for messages.
pub const WANTED: &str = "ioport:0xf4 (an I/O port in hexadecimal), console, or a device such as /dev/vport0p1";

/// The device that is told in words.
pub const CONSOLE: &str = "/dev/console";

impl Exit {
    /// Reads the value of `rd.exit`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(port) = text.strip_prefix("ioport:0x") {
            let port = u16::from_str_radix(port, 16).ok().filter(|port| *port > 0)?;
            return Some(Self { path: "/dev/port".into(), offset: port.into() });
        }
        if text == "console" {
            return Some(Self { path: CONSOLE.into(), offset: 0 });
        }
        let is_device = text.starts_with("/dev/") && !text.split('/').any(|part| part == "..");
        is_device.then(|| Self { path: text.into(), offset: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(Exit::parse("ioport:0xf4"), Some(Exit { path: "/dev/port".into(), offset: 0xf4 }));
        assert_eq!(Exit::parse("/dev/vport0p1"), Some(Exit { path: "/dev/vport0p1".into(), offset: 0 }));
        assert_eq!(Exit::parse("console"), Exit::parse("/dev/console"));
        for bad in ["", "ioport:", "ioport:0x", "ioport:0x0", "ioport:0x10000", "ioport:12", "vport0p1", "/dev/../x"] {
            assert_eq!(Exit::parse(bad), None, "{bad}");
        }
    }
}
