//! Blobs that a registry need not have: layers whose descriptors name addresses (`urls` of the image specification, Docker's foreign
//! layers). Their bytes are verified as a registry's are; nobody who gives them learns who is asking.

use std::sync::atomic::{AtomicBool, Ordering};

use base::in_one_line;
use ureq::http::Uri;

use super::{Session, authorization::shown, connection::Connection, name::is_local, patience::Fault};
use crate::{Error, Result, manifest::URLS_MAX};

impl Session {
    /// Asks the addresses of a blob, one after the other, once the registry has failed with `error`.
    pub(super) fn ask_elsewhere(
        &self,
        error: Error,
        urls: &[String],
        what: &str,
        stop: &AtomicBool,
        mut ask: impl FnMut(&Connection, &str) -> Result<(), Fault>,
    ) -> Result<()> {
        let mut told = match error {
            Error::Registry { source, .. } => in_one_line(&*source),
            error => in_one_line(&error),
        };
        for url in urls.iter().take(URLS_MAX) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let fault = match self.outside(url) {
                Ok(connection) => {
                    self.access.progress.say(format!("{}: {what}: asking {}", self.text, shown(url)));
                    match ask(&connection, url) {
                        Ok(()) => return Ok(()),
                        Err(fault) => in_one_line(&*fault),
                    }
                }
                Err(reason) => reason,
            };
            told += &format!("; {}: {fault}", shown(url));
        }
        if urls.len() > URLS_MAX {
            told += &format!("; {} more addresses are not asked", urls.len() - URLS_MAX);
        }
        Err(self.failed(what, told.into()))
    }

    /// Returns a connection for `url`. Without encryption only what the registry itself may be asked for so.
    fn outside(&self, url: &str) -> Result<Connection, String> {
        let may_be_plain = self.access.insecure || self.name.is_local();
        let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if may_be_plain => {}
            Some("http") => return Err("it is not encrypted (https)".to_owned()),
            _ => return Err("it is not an address of the web (https)".to_owned()),
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        if host.contains('@') {
            return Err("it has a name or password in it".to_owned());
        }
        let (limit, progress) = (self.access.limit, self.access.progress);
        Ok(Connection::outside(&self.name, is_local(host), limit, progress))
    }
}
