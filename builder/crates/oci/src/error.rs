//! The errors of OCI images.

use std::path::PathBuf;

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of OCI images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// An error of the archive that an image becomes.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// An OCI image that cannot be used.
    #[error("cannot use the image {image}: {reason}")]
    Image {
        /// As the user wrote it.
        image: String,
        /// The problem and its remedy.
        reason: String,
    },
    /// A registry does not give what it is asked for.
    #[error("image {image}: cannot fetch {what} from {registry}")]
    Registry {
        /// As the user wrote it.
        image: String,
        /// The registry.
        registry: String,
        /// The object requested, such as a manifest or a layer.
        what: String,
        /// The cause of the failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer of an OCI image that cannot be used.
    #[error("image {image}, layer {layer} ({digest}){}: {reason}", at(path))]
    Layer {
        /// As the user wrote it.
        image: String,
        /// Its index, from 1: the lowest.
        layer: usize,
        /// Its digest, or what stands for it.
        digest: String,
        /// The entry's name, printable; empty where it is not about one.
        path: String,
        /// The problem.
        reason: String,
    },
    /// A file that does not hold what it should.
    #[error("{} cannot be used: {reason}", shown(path))]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// An image is in a registry, and nobody said where its blobs are kept.
    #[error("{image} is in a registry, and there is no cache for its layers")]
    NoCache {
        /// The image, as the user wrote it.
        image: String,
    },
    /// A file was named as an image of a registry is.
    #[error("image {image}: there is a {kind} of this name (write {}), and no such image in a registry", forms.join(" or "))]
    NameOfFile {
        /// The image, as the user wrote it.
        image: String,
        /// `file` or `directory`.
        kind: &'static str,
        /// References that name it.
        forms: Vec<String>,
        /// The error of the name in a registry.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A request that cannot be met: what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}

/// Returns ", entry `path`" or nothing.
fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(", entry `{path}`") }
}
