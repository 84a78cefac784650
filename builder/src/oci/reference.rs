//! Where an image comes from, as the user writes it. Pure: nothing is looked at.

use std::path::PathBuf;

use crate::{Error, Result};

/// A place that holds an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A folder in the layout of the OCI image specification, and the image's tag in it.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// Needed where the folder holds several images.
        tag: Option<String>,
    },
    /// The same in a tar file.
    LayoutArchive {
        /// The file.
        file: PathBuf,
        /// Needed where the file holds several images.
        tag: Option<String>,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// `name:tag`, needed where the file holds several images.
        tag: Option<String>,
    },
    /// A plain root folder.
    Folder(PathBuf),
    /// A plain root in a tar file, compressed or not.
    Tar(PathBuf),
}

/// The forms, for messages.
const FORMS: &str = "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], dir:DIR or tar:FILE";

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::Usage(format!("image `{text}`: {reason}; expected {FORMS}")));
        let Some((scheme, rest)) = text.split_once(':') else {
            return refuse("it says no place that is read here");
        };
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
                let (folder, tag) = split(rest);
                Self::Layout { folder, tag }
            }
            "oci-archive" => {
                let (file, tag) = split(rest);
                Self::LayoutArchive { file, tag }
            }
            "docker-archive" => {
                let (file, tag) = split(rest);
                Self::DockerArchive { file, tag }
            }
            "dir" => Self::Folder(rest.into()),
            "tar" => Self::Tar(rest.into()),
            _ => {
                return refuse(
                    "images are read from files, not from registries (fetch one with `skopeo copy docker://IMAGE oci:DIR:TAG`)",
                );
            }
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
            ("oci:a/b", Reference::Layout { folder: "a/b".into(), tag: None }),
            ("oci:/a:latest", Reference::Layout { folder: "/a".into(), tag: tag("latest") }),
            ("oci:/a:", Reference::Layout { folder: "/a".into(), tag: None }),
            ("oci-archive:a.tar:1.2", Reference::LayoutArchive { file: "a.tar".into(), tag: tag("1.2") }),
            ("docker-archive:a.tar:alpine:3", Reference::DockerArchive { file: "a.tar".into(), tag: tag("alpine:3") }),
            ("dir:/root:1", Reference::Folder("/root:1".into())),
            ("tar:root.tar.gz", Reference::Tar("root.tar.gz".into())),
        ] {
            assert_eq!(Reference::parse(text).unwrap(), reference);
        }
        for (text, part) in [
            ("alpine", "no place"),
            ("", "no place"),
            ("oci:", "path is missing"),
            ("oci::tag", "path is missing"),
            ("alpine:latest", "skopeo copy"),
            ("docker://alpine", "skopeo copy"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("oci-archive:FILE"), "{error}");
        }
    }
}
