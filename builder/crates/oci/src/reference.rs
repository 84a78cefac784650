//! The source of an image, as the user writes it. Pure: reads no file and asks no registry.

use std::path::PathBuf;

use super::registry::name::Name;
use crate::{Error, Result};

/// A place that holds an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A directory in the layout of the OCI image specification, and the image's tag in it.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// Needed where the directory holds several images.
        tag: Option<String>,
    },
    /// The same in a tar file.
    LayoutArchive {
        /// The file.
        file: PathBuf,
        /// Needed where the file holds several images.
        tag: Option<String>,
    },
    /// An archive written by `docker save`.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// `name:tag`, or `@` and a number from 0: needed where the file holds several images.
        tag: Option<String>,
    },
    /// An image in a registry.
    Registry(Name),
    /// A plain root directory.
    Directory(PathBuf),
    /// A plain root in a tar file, compressed or not.
    Tar(PathBuf),
}

/// The forms, for messages.
const FORMS: &str = "NAME[:TAG], HOST:PORT/NAME[:TAG], NAME@sha256:DIGITS, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG|:@N], dir:DIR or tar:FILE";

/// Places that only container engines know, by the names that skopeo has for them, and how to get an image out of them.
const OTHERS: [(&str, &str); 4] = [
    (
        "containers-storage",
        "`skopeo copy containers-storage:IMAGE oci:DIR`, or `podman save --format oci-archive -o FILE IMAGE`",
    ),
    ("docker-daemon", "`docker save -o FILE IMAGE`, which docker-archive:FILE takes"),
    ("ostree", "`skopeo copy ostree:IMAGE oci:DIR`"),
    ("sif", "`skopeo copy sif:FILE oci:DIR`"),
];

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::Usage(format!("image `{text}`: {reason}; expected {FORMS}")));
        let in_registry = |name: &str| Name::parse(name).map(Self::Registry).or_else(refuse);
        let Some((scheme, rest)) = text.split_once(':') else { return in_registry(text) };
        if let Some((_, form)) = OTHERS.iter().find(|(other, _)| *other == scheme) {
            return refuse(&format!("`{scheme}:` is a place that is not read here; copy it first: {form}"));
        }
        if !["oci", "oci-archive", "docker-archive", "dir", "tar", "docker"].contains(&scheme) {
            return in_registry(text);
        }
        if rest.is_empty() || rest.starts_with(':') {
            return refuse("the path is missing");
        }
        // The path ends at the first colon, as for skopeo: tags have none, a path with one cannot be written.
        let split = |rest: &str| match rest.split_once(':') {
            Some((path, tag)) => (PathBuf::from(path), Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
            None => (PathBuf::from(rest), None),
        };
        Ok(match scheme {
            "oci" => {
                let (directory, tag) = split(rest);
                Self::Layout { directory, tag }
            }
            "oci-archive" => {
                let (file, tag) = split(rest);
                Self::LayoutArchive { file, tag }
            }
            "docker-archive" => {
                let (file, tag) = split(rest);
                Self::DockerArchive { file, tag }
            }
            "dir" => Self::Directory(rest.into()),
            "tar" => Self::Tar(rest.into()),
            _ => match rest.strip_prefix("//") {
                Some(name) => return in_registry(name),
                None => return in_registry(text),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let tag = |tag: &str| Some(tag.to_owned());
        for (text, reference) in [
            ("oci:a/b", Reference::Layout { directory: "a/b".into(), tag: None }),
            ("oci:/a:latest", Reference::Layout { directory: "/a".into(), tag: tag("latest") }),
            ("oci:/a:", Reference::Layout { directory: "/a".into(), tag: None }),
            ("oci-archive:a.tar:1.2", Reference::LayoutArchive { file: "a.tar".into(), tag: tag("1.2") }),
            ("docker-archive:a.tar:alpine:3", Reference::DockerArchive { file: "a.tar".into(), tag: tag("alpine:3") }),
            ("dir:/root:1", Reference::Directory("/root:1".into())),
            ("tar:root.tar.gz", Reference::Tar("root.tar.gz".into())),
            ("alpine", Reference::Registry(Name::parse("alpine").unwrap())),
            ("docker://oci:1", Reference::Registry(Name::parse("docker.io/library/oci:1").unwrap())),
            ("docker:27", Reference::Registry(Name::parse("docker:27").unwrap())),
            ("localhost:5000/a:b", Reference::Registry(Name::parse("localhost:5000/a:b").unwrap())),
        ] {
            assert_eq!(Reference::parse(text).unwrap(), reference);
        }
        for (text, part) in [
            ("", "not an image's name"),
            ("./images", "its registry is invalid"),
            ("Images", "not an image's name"),
            ("oci:", "path is missing"),
            ("oci::tag", "path is missing"),
            ("docker://", "not an image's name"),
            ("containers-storage:alpine", "`skopeo copy containers-storage:IMAGE oci:DIR`"),
            ("docker-daemon:alpine:latest", "`docker save -o FILE IMAGE`"),
            ("alpine:a/b", "its registry is invalid"),
            ("alpine@sha256:12", "not a digest"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("oci-archive:FILE"), "{error}");
        }
    }
}
