//! Images in registries and their mirrors. Every blob goes through the command's cache, by its digest, and is read there like one of a layout; what a
//! digest already says needs no registry. Documents come when an image is opened, layers when they are needed.

use std::{
    fmt::{self, Debug, Formatter},
    fs::{self, File},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use base::{
    IoContext,
    cache::{Cache, Check, PARTIAL, Shrunk},
    cleanup::TempPath,
    in_one_line,
    progress::{Progress, Step},
};

use crate::{
    Error, Result,
    blob::{DOCUMENT_MAX, Digest, Place},
    image::{Image, Layer, Remote},
    manifest::{Descriptor, INDEXES, MANIFESTS, Role, Search, Store},
    platform::Platform,
};

pub mod authorization;
mod connection;
mod credentials;
mod elsewhere;
pub mod lock;
mod mirrors;
pub mod name;
mod partial;
mod patience;

pub use authorization::Credentials;
use authorization::Login;
use connection::{Connection, pieces::From};
use lock::Lock;
use mirrors::Location;
use name::Name;
use partial::Partial;
use patience::Fault;
pub use patience::retry_after;

/// Settings for access to registries.
#[derive(Debug, Clone)]
pub struct Access {
    /// Name and password; without them those that `docker login` and `podman login` keep.
    pub credentials: Option<Credentials>,
    /// Registries on other machines are asked without encryption too.
    pub insecure: bool,
    /// The file that says what tags stand for.
    pub lock: Option<PathBuf>,
    /// The cache of blobs; required for an image in a registry.
    pub cache: Option<Cache>,
    /// The time in which a registry may bring nothing before it is given up.
    pub limit: Duration,
    /// The destination of warnings.
    pub progress: Progress,
}

/// The time without progress after which a registry is given up, where nobody says another one.
pub const LIMIT: Duration = Duration::from_secs(60);

impl Default for Access {
    fn default() -> Self {
        Self { credentials: None, insecure: false, lock: None, cache: None, limit: LIMIT, progress: Progress::none() }
    }
}

/// A registry, with its mirrors, as it is asked for one image.
struct Session {
    text: String,
    name: Name,
    access: Access,
    cache: Cache,
    places: Vec<Endpoint>,
    /// The place that had something last.
    good: AtomicUsize,
    /// Nobody clears the cache as long as this is held.
    reading: Option<File>,
    /// True once a blob was added to the cache.
    has_fetched: AtomicBool,
}

/// A registry or a mirror that may be asked.
struct Endpoint {
    location: Location,
    connection: OnceLock<Connection>,
    /// Held by who opens the connection.
    opening: Mutex<()>,
}

/// Blobs in the cache, one entry each.
const ROOM: &str = "oci";
const BLOB: &str = "blob";
/// The number of layers that are fetched at the same time, as with Docker.
const AT_ONCE: usize = 3;
/// The size of this part of the cache, in bytes, above which the least recently used blobs are removed.
const ROOM_MAX: u64 = 10 << 30;
/// The time since its last use within which a blob is kept, however large this part of the cache is.
const RECENT: Duration = Duration::from_secs(3600);
/// The file with the media type that the registry reported for a document requested by the image's name.
const TYPE: &str = "type";

/// Finds the image `name`, which the user wrote as `text`.
///
/// # Errors
/// [`Error::Registry`], and as [`Image::open`].
pub(super) fn open(text: &str, name: Name, platform: &Platform, access: &Access) -> Result<Image> {
    let locked = match &access.lock {
        Some(path) if name.digest.is_none() => Lock::read(path)?.images.remove(&name.to_string()),
        _ => None,
    };
    let cache = access.cache.clone().ok_or_else(|| Error::NoCache { image: text.to_owned() })?;
    let places = mirrors::of(&name)?;
    let session = Session {
        text: text.to_owned(),
        name,
        access: access.clone(),
        reading: cache.reading(ROOM),
        cache,
        places: places.into_iter().map(Endpoint::new).collect(),
        good: AtomicUsize::new(0),
        has_fetched: AtomicBool::new(false),
    };
    let root = session.root(locked.as_ref())?;
    let resolved = root.digest.clone();
    let search = Search { name: text, store: &session, platform, is_alone: false };
    let mut image = search.image(&[Ok(root)])?;
    image.remote = Some(Arc::new(session));
    image.resolved = Some(resolved);
    Ok(image)
}

impl Endpoint {
    fn new(location: Location) -> Self {
        Self { location, connection: OnceLock::new(), opening: Mutex::default() }
    }

    fn connection(&self, access: &Access, stop: &AtomicBool) -> Result<&Connection, Fault> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let (name, progress) = (self.location.name.clone(), access.progress);
        // A name and a password that the user gives are for the registry, and no mirror's.
        let given = access.credentials.clone().filter(|_| !self.location.is_mirror);
        let ask = move || match &given {
            Some(credentials) => Ok(Some(Login::Password(credentials.clone()))),
            None => credentials::kept(&name, progress),
        };
        let is_plain = access.insecure && !self.location.is_mirror;
        let made = Connection::open(&self.location, is_plain, access.limit, Box::new(ask), progress, stop)?;
        Ok(self.connection.get_or_init(|| made))
    }
}

impl Session {
    fn failed(&self, what: impl Into<String>, source: Fault) -> Error {
        Error::Registry { image: self.text.clone(), what: what.into(), registry: self.name.registry.clone(), source }
    }

    /// Asks one place after the other, the one that had something last before the others. The last one's failure is told.
    fn ask<T>(&self, what: &str, stop: &AtomicBool, mut ask: impl FnMut(&Connection) -> Result<T, Fault>) -> Result<T> {
        let good = self.good.load(Ordering::Relaxed);
        // Those before it did not have the image.
        let mut places = self.places.iter().enumerate().skip(good).peekable();
        while let Some((number, place)) = places.next() {
            let connection = match place.connection(&self.access, stop) {
                Ok(connection) => Ok(connection),
                Err(fault) => match fault.downcast::<Error>() {
                    Ok(error) => return Err(*error),
                    Err(fault) => Err((fault, "anything")),
                },
            };
            let (fault, what) = match connection {
                Err(failure) => failure,
                Ok(connection) => match ask(connection) {
                    Ok(done) => {
                        self.good.fetch_max(number, Ordering::Relaxed);
                        return Ok(done);
                    }
                    Err(fault) => (fault, what),
                },
            };
            let registry = place.location.name.registry.clone();
            let failure = Error::Registry { image: self.text.clone(), what: what.to_owned(), registry, source: fault };
            match places.peek() {
                Some((_, next)) if !stop.load(Ordering::Relaxed) => {
                    let next = &next.location.name.registry;
                    self.access.progress.say(format!("warning: {}; asking {next}", in_one_line(&failure)));
                }
                _ => return Err(failure),
            }
        }
        Err(self.failed(what, "there is no registry or mirror to ask".into()))
    }

    /// Resolves the name to a descriptor: by the digest that the user or the lock gives, else by asking the registry.
    fn root(&self, locked: Option<&Digest>) -> Result<Descriptor> {
        let pinned = self.name.digest.as_ref().or(locked);
        if let Some(digest) = pinned
            && let Some(place) = self.document_in_cache(digest)?
        {
            let media_type = fs::read_to_string(place.path.with_file_name(TYPE)).unwrap_or_default();
            return Ok(Descriptor::new(media_type, digest.clone(), place.size));
        }
        let reference = pinned.map_or_else(|| self.name.tag.clone().unwrap_or_default(), Digest::to_string);
        let what = if locked.is_some() { "the locked manifest " } else { "the manifest " }.to_owned() + &reference;
        let accept = [INDEXES, MANIFESTS].as_flattened().join(", ");
        let go_on = AtomicBool::new(false);
        let document = self.ask(&what, &go_on, |connection| connection.document(&reference, &accept, &go_on))?;
        let digest = pinned.map_or_else(|| Digest::of(&document.bytes), |pinned| pinned.like(&document.bytes));
        let said = document.digest.as_deref().and_then(Digest::parse);
        let wanted = pinned.or(said.as_ref().filter(|said| said.algorithm() == digest.algorithm()));
        if wanted.is_some_and(|wanted| *wanted != digest) {
            return Err(self.failed(what, format!("the received content has digest {digest}").into()));
        }
        // Anything else is a server that does not know; the document says what it is.
        let known = [INDEXES, MANIFESTS].as_flattened().contains(&document.media_type.as_str());
        let media_type = if known { document.media_type } else { String::new() };
        self.keep(&digest, |directory| {
            fs::write(directory.join(BLOB), &document.bytes).at("write", directory.join(BLOB))?;
            Ok(fs::write(directory.join(TYPE), &media_type).at("write", directory.join(TYPE))?)
        })?;
        Ok(Descriptor::new(media_type, digest, document.bytes.len() as u64))
    }

    /// Returns the blob in the cache; made by `make` where it is not there.
    fn keep(&self, digest: &Digest, make: impl FnOnce(&std::path::Path) -> Result<()>) -> Result<PathBuf> {
        let entry = self.cache.entry(ROOM, &key(digest), Check::Sizes, |directory| {
            let _unfinished = TempPath::new(directory);
            make(directory)?;
            let blob = directory.join(BLOB);
            self.has_fetched.store(true, Ordering::Relaxed);
            File::open(&blob).and_then(|file| file.sync_all()).at("write", blob)?;
            Ok::<_, Error>(())
        })?;
        self.cache.touch(&entry);
        Ok(entry.join(BLOB))
    }

    /// Returns a document that is there and has its digest. One that was damaged is taken away.
    fn document_in_cache(&self, digest: &Digest) -> Result<Option<Place>> {
        let Some(entry) = self.cache.find(ROOM, &key(digest), Check::Sizes) else { return Ok(None) };
        let place = Place::file(entry.join(BLOB))?;
        if place.size > DOCUMENT_MAX {
            return Ok(Some(place));
        }
        let bytes = fs::read(&place.path).at("read", &place.path)?;
        if digest.like(&bytes) == *digest {
            self.cache.touch(&entry);
            return Ok(Some(place));
        }
        self.cache.remove(ROOM, &key(digest))?;
        Ok(None)
    }

    /// Fetches a blob of the registry's, or of the addresses in its descriptor, into the cache, as long as nobody says `stop`.
    fn fetch(
        &self,
        digest: &Digest,
        size: u64,
        urls: &[String],
        what: &str,
        begin: impl FnOnce() -> Step,
        stop: &AtomicBool,
    ) -> Result<PathBuf> {
        let path = self.keep(digest, |directory| {
            // Beside the entry, whose lock is held: what has come stays when the command is interrupted.
            let path = self.cache.root().join(ROOM).join(format!(".{}{PARTIAL}", key(digest)));
            let mut partial = Partial::open(path, digest, size)?;
            let step = begin();
            let fetched = self
                .ask(what, stop, |connection| connection.blob(From::Registry, digest, size, &mut partial, &step, stop));
            let fetched = match fetched {
                Err(error) if !urls.is_empty() && !stop.load(Ordering::Relaxed) => {
                    self.ask_elsewhere(error, urls, what, stop, |connection, url| {
                        // Whole, and wrong.
                        if partial.length() >= size {
                            partial.clear()?;
                        }
                        connection.blob(From::Address(url), digest, size, &mut partial, &step, stop)
                    })
                }
                fetched => fetched,
            };
            if let Err(error) = fetched {
                if partial.length() >= size {
                    partial.discard();
                }
                return Err(error);
            }
            partial.finish(&directory.join(BLOB))?;
            step.finish("");
            Ok(())
        })?;
        // One that came for another image, whose descriptor was right.
        let seen = Place::file(&path)?.size;
        if seen != size {
            return Err(self.failed(what, format!("it has {seen} bytes, and its descriptor says {size}").into()));
        }
        Ok(path)
    }
}

fn key(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.digits())
}

impl Store for Session {
    fn blob(&self, descriptor: &Descriptor, role: Role) -> Result<Option<Place>> {
        let Descriptor { digest, size, .. } = descriptor;
        if role == Role::Layer {
            // It comes when it is needed, and then it has this size.
            let path = self.cache.root().join(ROOM).join(key(digest)).join(BLOB);
            return Ok(Some(Place { path, offset: 0, size: *size }));
        }
        if let Some(place) = self.document_in_cache(digest)? {
            return Ok(Some(place));
        }
        let what = format!("the {role} {digest}");
        if *size > DOCUMENT_MAX {
            return Err(self.failed(
                what,
                format!("its descriptor says {size} bytes, and {DOCUMENT_MAX} at most are read").into(),
            ));
        }
        let path = if role == Role::Config {
            self.fetch(digest, *size, &[], &what, || Progress::none().step(""), &AtomicBool::new(false))?
        } else {
            let accept = [INDEXES, MANIFESTS].as_flattened().join(", ");
            let go_on = AtomicBool::new(false);
            let reference = digest.to_string();
            let document = self.ask(&what, &go_on, |connection| connection.document(&reference, &accept, &go_on))?;
            let seen = digest.like(&document.bytes);
            if seen != *digest {
                return Err(self.failed(what, format!("the received content has digest {seen}").into()));
            }
            self.keep(digest, |directory| {
                Ok(fs::write(directory.join(BLOB), &document.bytes).at("write", directory.join(BLOB))?)
            })?
        };
        Place::file(path).map(Some)
    }
}

impl Debug for Session {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.name)
    }
}

impl Remote for Session {
    fn fetch(&self, layers: &[Layer], max_size: u64, progress: Progress) -> Result<()> {
        let total = layers.iter().try_fold(0, |sum: u64, layer| sum.checked_add(layer.blob.place.size));
        if total.is_none_or(|total| total > max_size) {
            return Err(Error::Image {
                image: self.text.clone(),
                reason: format!(
                    "its layers have more than the {max_size} bytes of --max-size even before they are unpacked"
                ),
            });
        }
        let bars = progress.transfers();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<Error>> = Mutex::default();
        let fetch_next = || {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = layers.get(index) else { break };
                let Some(digest) = &layer.blob.digest else { continue };
                let size = layer.blob.place.size;
                let place = format!("layer {} of {}", index + 1, layers.len());
                let shown = format!("{}: fetching {place} ({}…)", self.text, digest.short());
                let what = format!("{place} ({digest})");
                if let Err(error) = self.fetch(digest, size, &layer.urls, &what, || bars.transfer(shown, size), &stop) {
                    // The first one is the reason; then the others are stopped, which is theirs.
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| (0..AT_ONCE.min(layers.len())).for_each(|_| drop(scope.spawn(fetch_next))));
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn forget(&self, digest: &Digest) -> Result<()> {
        Ok(self.cache.remove(ROOM, &key(digest))?)
    }

    fn write_lock(&self, resolved: &Digest) -> Result<()> {
        match &self.access.lock {
            Some(path) if self.name.digest.is_none() => Lock::add(path, &self.name.to_string(), resolved),
            _ => Ok(()),
        }
    }
}

impl Drop for Session {
    /// Removes the least recently used blobs if something was fetched and this part of the cache is too large. Errors are ignored:
    /// they only leave the cache larger.
    fn drop(&mut self) {
        drop(self.reading.take());
        if self.has_fetched.load(Ordering::Relaxed) {
            let _ = self.cache.shrink(ROOM, ROOM_MAX, RECENT);
        }
    }
}

/// Takes the blobs that were used longest ago out of the cache, until those that are left have at most `kept` bytes.
///
/// # Errors
/// [`Error::Usage`] while another command reads there, [`Error::Io`].
pub fn prune(cache: &Cache, kept: u64) -> Result<Shrunk> {
    shrink(cache, ROOM, kept)
}

/// Shrinks a room of the cache as [`prune`] does.
pub(super) fn shrink(cache: &Cache, room: &str, kept: u64) -> Result<Shrunk> {
    cache.shrink(room, kept, Duration::ZERO)?.ok_or_else(|| {
        Error::Usage(
            "another command is reading images from the cache; wait until it has finished and try again".to_owned(),
        )
    })
}
