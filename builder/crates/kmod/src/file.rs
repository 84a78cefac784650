//! A module's file on the builder's disk: its content taken out of its compression, and its `.modinfo`. What the content means is
//! for others.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use object::ReadCache;

use super::modinfo::{self, ModInfo};

/// No module is larger, debug sections and all, so nothing that unpacks to more is taken into memory.
const LIMIT: u64 = 1 << 30;

/// Reads the module, decompressed by the suffix of its name. A signature at its end is part of it and stays.
///
/// # Errors
/// The error of opening or reading the file; `InvalidData` where the compressed data is damaged or the module is larger than 1 GiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("gz") => unpack("gzip", flate2::read::MultiGzDecoder::new(file)),
        Some("xz") => unpack("xz", liblzma::read::XzDecoder::new_multi_decoder(file)),
        Some("zst") => unpack("zstd", zstd::Decoder::new(file)?),
        _ => read_limited(file),
    }
}

/// Reads the `.modinfo` of the module. Of an uncompressed file no more than the headers and this section are read.
///
/// # Errors
/// Why it cannot be read or is no module, as the end of a sentence.
pub fn modinfo(path: &Path) -> Result<ModInfo, String> {
    let said = |error: io::Error| error.to_string();
    if path.extension().is_some_and(|suffix| suffix == "ko") {
        let file = File::open(path).map_err(said)?;
        return modinfo::read(&ReadCache::new(file));
    }
    let bytes = read(path).map_err(said)?;
    modinfo::read(bytes.as_slice())
}

fn unpack(format: &str, packed: impl Read) -> io::Result<Vec<u8>> {
    read_limited(packed).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("its {format} data cannot be unpacked: {error}"))
    })
}

fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 GiB, which no module is"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn every_compression_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = b"module content ".repeat(100);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&text).unwrap();
        for (name, bytes) in [
            ("a.ko", text.clone()),
            ("a.ko.gz", gz.finish().unwrap()),
            ("a.ko.xz", xz.finish().unwrap()),
            ("a.ko.zst", zstd::encode_all(text.as_slice(), 3).unwrap()),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).unwrap(), text, "{name}");
            if name == "a.ko" {
                continue;
            }
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{name}: {error}");
            assert_eq!(modinfo(&path).unwrap_err(), error, "{name}");
        }
    }
}
