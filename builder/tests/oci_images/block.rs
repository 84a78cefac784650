//! Tar blocks made by hand, right and wrong ones.

pub const BLOCK: usize = 512;
pub const USTAR: &[u8; 8] = b"ustar\x0000";
pub const GNU: &[u8; 8] = b"ustar  \0";
pub const V7: &[u8; 8] = &[0; 8];

/// A header with its content, in the making.
#[derive(Debug, Clone)]
pub struct Made {
    block: [u8; BLOCK],
    content: Vec<u8>,
    signed: bool,
}

/// Starts a member of root's with a mode that fits its kind.
pub fn made(name: impl AsRef<[u8]>, kind: u8) -> Made {
    let mut made = Made { block: [0; BLOCK], content: Vec::new(), signed: false };
    let name = name.as_ref();
    made.block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    made.block[156] = kind;
    let mode = if kind == b'5' { "0000755\0" } else { "0000644\0" };
    made.at(100, mode)
        .at(108, "0000000\0")
        .at(116, "0000000\0")
        .at(124, "00000000000\0")
        .at(136, "00000000012\0")
        .at(257, USTAR)
}

/// Makes a file that holds `abc`.
pub fn file(name: impl AsRef<[u8]>) -> Made {
    made(name, b'0').content(b"abc")
}

pub fn directory(name: impl AsRef<[u8]>) -> Made {
    made(name, b'5')
}

pub fn symlink(name: impl AsRef<[u8]>, target: &str) -> Made {
    made(name, b'2').at(157, target)
}

pub fn hard_link(name: impl AsRef<[u8]>, target: &str) -> Made {
    made(name, b'1').at(157, target)
}

pub fn device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Made {
    made(name, b'3').at(329, format!("{major:07o}\0")).at(337, format!("{minor:07o}\0"))
}

impl Made {
    /// Puts bytes at an offset.
    pub fn at(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.block[offset..offset + bytes.as_ref().len()].copy_from_slice(bytes.as_ref());
        self
    }

    /// Gives it a content, and the size of it.
    pub fn content(mut self, bytes: &[u8]) -> Self {
        self.content = bytes.to_vec();
        let size = bytes.len();
        self.size(size)
    }

    /// Says a size, whatever the content.
    pub fn size(self, size: usize) -> Self {
        self.at(124, format!("{size:011o}\0"))
    }

    /// Says another magic and version.
    pub fn magic(self, magic: &[u8; 8]) -> Self {
        self.at(257, magic)
    }

    /// Adds signed bytes for its checksum.
    pub fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    pub fn bytes(mut self) -> Vec<u8> {
        self.block[148..156].fill(b' ');
        let sum: i64 = match self.signed {
            true => self.block.iter().map(|byte| i64::from(byte.cast_signed())).sum(),
            false => self.block.iter().copied().map(i64::from).sum(),
        };
        self.block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// Makes a PAX record.
pub fn record(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value.as_ref(), b"\n"].concat();
    let digits = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
    [(rest.len() + digits).to_string().as_bytes(), &rest].concat()
}

/// Makes a header of PAX records.
pub fn pax(records: &[Vec<u8>]) -> Made {
    made("PaxHeaders/x", b'x').content(&records.concat())
}

/// Makes GNU's header of a long name (`L`) or a long link (`K`).
pub fn long(kind: u8, text: impl AsRef<[u8]>) -> Made {
    made("././@LongLink", kind).magic(GNU).content(&[text.as_ref(), b"\0"].concat())
}

/// Joins members; the archive's end comes with [`archive`].
pub fn joined(members: &[Made]) -> Vec<u8> {
    members.iter().cloned().flat_map(Made::bytes).collect()
}

/// Makes a whole archive.
pub fn archive(members: &[Made]) -> Vec<u8> {
    [joined(members), vec![0; 2 * BLOCK]].concat()
}
