//! A Debian package as a file: unpacked without dpkg, on any distribution. Format: deb(5). Nothing is written outside
//! the directory it is unpacked into, and no owner, device or set-user-id bit is taken over.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Component, Path, PathBuf},
};

use base::IoContext;

use crate::{Error, Result};

/// Unpacks the files of `package` whose path is `wanted` (relative, without a leading `./`) into `directory`.
///
/// # Errors
/// [`Error::DebianPackage`] where it is no Debian package or damaged, [`Error::Io`] where `directory` cannot be written.
pub fn unpack(package: &Path, directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let bad = |reason: String| Error::DebianPackage { path: package.to_owned(), reason };
    let mut archive = ar::Archive::new(BufReader::new(File::open(package).at("read", package)?));
    let mut seen = Vec::new();
    while let Some(member) = archive.next_entry() {
        let member = member.map_err(|error| bad(format!("its ar archive is damaged: {error}")))?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let data: Box<dyn Read> = match name.trim_end_matches('/') {
            "data.tar.xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
            "data.tar.zst" => {
                Box::new(zstd::stream::read::Decoder::new(member).map_err(|error| bad(format!("{name}: {error}")))?)
            }
            "data.tar.gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
            "data.tar" => Box::new(member),
            _ => {
                seen.push(name);
                continue;
            }
        };
        return unpack_tar(data, directory, wanted).map_err(|reason| bad(format!("{name}: {reason}")));
    }
    Err(bad(format!("it holds no data.tar.xz, .zst or .gz, only: {}", seen.join(", "))))
}

fn unpack_tar(data: impl Read, directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<(), String> {
    let mut archive = tar::Archive::new(data);
    archive.set_preserve_mtime(false);
    // The chain matters: tar's errors name the file and wrap what the system said.
    let text = |error: std::io::Error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let path = relative(&entry.path().map_err(text)?);
        if path.as_os_str().is_empty() || !wanted(&path) {
            continue;
        }
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            return Err(format!("{} is neither file, directory nor link", path.display()));
        }
        // unpack_in refuses `..` and goes through no link that leads out; it says so by `false`.
        if !entry.unpack_in(directory).map_err(text)? {
            return Err(format!("{} would be outside the directory it is unpacked into", path.display()));
        }
    }
    Ok(())
}

/// Makes a path relative: `./bin/busybox` → `bin/busybox`.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|component| !matches!(component, Component::CurDir | Component::RootDir)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            // Written as it stands: the builder itself would refuse `..`.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn package(directory: &Path, name: &str, data: &[u8]) -> PathBuf {
        let path = directory.join("test.deb");
        let mut archive = ar::Builder::new(File::create(&path).unwrap());
        for (name, data) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b""), (name, data)] {
            archive.append(&ar::Header::new(name.as_bytes().to_vec(), data.len() as u64), data).unwrap();
        }
        path
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_what_is_wanted_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let data = tar(&[("./bin/busybox", "program"), ("./usr/share/doc/copyright", "text")]);
        for (name, data) in [("data.tar.xz", xz(&data)), ("data.tar.zst", zstd::encode_all(&*data, 1).unwrap())] {
            let package = package(directory.path(), name, &data);
            let into = directory.path().join(name);
            fs::create_dir(&into).unwrap();
            unpack(&package, &into, |path| path.starts_with("bin")).unwrap();
            assert_eq!(fs::read(into.join("bin/busybox")).unwrap(), b"program");
            assert!(!into.join("usr").exists());
        }
    }

    #[test]
    fn what_leads_out_or_is_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join("into");
        fs::create_dir(&into).unwrap();
        let text = |package: &Path| unpack(package, &into, |_| true).unwrap_err().to_string();

        let out = package(directory.path(), "data.tar.xz", &xz(&tar(&[("../out", "x")])));
        assert!(text(&out).ends_with("../out would be outside the directory it is unpacked into"), "{}", text(&out));
        assert!(!directory.path().join("out").exists());

        let whole = xz(&tar(&[("./a", "a")]));
        let cut = package(directory.path(), "data.tar.xz", &whole[..whole.len() / 2]);
        assert!(text(&cut).contains("data.tar.xz: "), "{}", text(&cut));

        let other = package(directory.path(), "data.tar.lz", b"");
        assert!(text(&other).contains("only: debian-binary, control.tar.xz, data.tar.lz"), "{}", text(&other));

        fs::write(directory.path().join("test.deb"), "not a package").unwrap();
        assert!(text(&directory.path().join("test.deb")).contains("ar archive is damaged"), "{}", text(&out));
    }
}
