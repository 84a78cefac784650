//! The parameters of the appliance's boot: its partitions, its image and its updates.

use std::time::Duration;

use contract::{names, tag::Tag};

use crate::config::values::{self, Objections};

/// Permission to change the update medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consume {
    /// On a fixed disk a delivery is moved; on a removable medium nothing is changed.
    Auto,
    /// A delivery is moved.
    Yes,
    /// Nothing is changed.
    No,
}

/// The parameters of the appliance's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The partition that holds the image.
    pub img: Tag,
    /// The partition that may hold modules.
    pub boot: Tag,
    /// The partition that may hold an update.
    pub newimg: Tag,
    /// File name of the image.
    pub image: String,
    /// Copy the image to memory and release the medium.
    pub to_ram: bool,
    /// Longest wait for an update medium.
    pub newimg_timeout: Duration,
    /// Boots that a new image has to be marked good; 0: it need not.
    pub newimg_tries: u32,
    /// Permission to change the update medium.
    pub newimg_consume: Consume,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            img: Tag::Label("img".into()),
            boot: Tag::Label("boot".into()),
            newimg: Tag::Label("newimg".into()),
            image: names::IMAGE.into(),
            to_ram: false,
            newimg_timeout: Duration::ZERO,
            newimg_tries: 0,
            newimg_consume: Consume::Auto,
        }
    }
}

impl Config {
    /// Reads one parameter. Returns false for one of somebody else's.
    pub(crate) fn word(&mut self, name: &str, value: Option<&str>, objections: &mut Objections) -> bool {
        match (name, value) {
            ("rd.img", value) => objections.tag(name, value, &mut self.img),
            ("rd.boot", value) => objections.tag(name, value, &mut self.boot),
            ("rd.newimg", value) => objections.tag(name, value, &mut self.newimg),
            ("rd.image", Some(value)) if values::is_file_name(value) => self.image = value.into(),
            ("rd.image", value) => objections.refuse(name, value, "a file name without a slash"),
            ("rd.toram", value) => match values::switch(value) {
                Some(on) => self.to_ram = on,
                None => objections.warn(name, value, "nothing, yes or no"),
            },
            ("rd.newimg.timeout", value) => objections.duration(name, value, &mut self.newimg_timeout),
            ("rd.newimg.tries", value) => match value.unwrap_or_default().parse() {
                Ok(tries) => self.newimg_tries = tries,
                Err(_) => objections.warn(name, value, "a number of boots, 0 for no trial"),
            },
            ("rd.newimg.consume", Some("auto")) => self.newimg_consume = Consume::Auto,
            ("rd.newimg.consume", Some("yes")) => self.newimg_consume = Consume::Yes,
            ("rd.newimg.consume", Some("no")) => self.newimg_consume = Consume::No,
            ("rd.newimg.consume", value) => objections.warn(name, value, "auto, yes or no"),
            _ => return false,
        }
        true
    }
}
