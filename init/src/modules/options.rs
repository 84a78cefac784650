//! Options of modules on the command line, as modprobe reads them there (kmod, `libkmod/libkmod-config.c`): parameters, and modules that
//! are not to be loaded. Pure.

/// Options of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Module and parameter, in the order of the command line: the kernel takes the last of a name.
    parameters: Vec<(String, String)>,
    blacklist: Vec<String>,
}

impl Options {
    /// Reads one parameter of a command line, its quotes taken off. Returns false for one that is about no module.
    pub fn word(&mut self, name: &str, value: Option<&str>) -> bool {
        if matches!(name, "module_blacklist" | "modprobe.blacklist" | "rd.driver.blacklist") {
            let names = value.unwrap_or_default().split(',').filter(|name| !name.is_empty());
            self.blacklist.extend(names.map(normal));
            return true;
        }
        let Some((module, parameter)) = name.split_once('.') else { return false };
        if module.is_empty() || module == "rd" || parameter.is_empty() {
            return false;
        }
        let parameter = match value {
            None => parameter.into(),
            // The kernel splits what it is given once more (kernel, kernel/params.c, parse_args).
            Some(value) if value.contains(|c: char| c.is_ascii_whitespace()) => {
                [parameter, "=\"", value, "\""].concat()
            }
            Some(value) => [parameter, "=", value].concat(),
        };
        self.parameters.push((normal(module), parameter));
        true
    }

    /// Returns the parameters for the module in the file at `path`, in the form that the kernel takes.
    pub fn parameters(&self, path: &str) -> String {
        let module = name_of(path);
        let own = self.parameters.iter().filter(|(name, _)| *name == module);
        own.map(|(_, parameter)| parameter.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Returns a line about modules that are not to be loaded, if there are any.
    pub fn note(&self) -> Option<String> {
        let names = self.blacklist.join(", ");
        (!names.is_empty()).then(|| [contract::names::FORBIDDEN, &names].concat())
    }

    /// Returns true for a module that is not to be loaded, by its name or its file.
    pub fn is_blacklisted(&self, module: &str) -> bool {
        !self.blacklist.is_empty() && self.blacklist.contains(&name_of(module))
    }
}

/// Returns the kernel's name for a module: `-` and `_` are the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the name of the module in a file.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    normal(file.split_once(".ko").map_or(file, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Options {
        let mut options = Options::default();
        for word in words {
            let (name, value) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
            options.word(name, value);
        }
        options
    }

    #[test]
    fn parameters_reach_their_module() {
        let words =
            ["usb-storage.quirks=a:b:u", "quiet", "usb_storage.delay_use=0", "usb_storage.flag", "x.y=a b", "rd.z=1"];
        let options = read(&words);
        for path in ["/lib/modules/6.1/kernel/drivers/usb/storage/usb-storage.ko.xz", "usb_storage"] {
            assert_eq!(options.parameters(path), "quirks=a:b:u delay_use=0 flag", "{path}");
        }
        assert_eq!(options.parameters("x.ko"), "y=\"a b\"");
        assert_eq!(options.parameters("/lib/usb.ko"), "");
        assert_eq!(options.parameters("rd.ko"), "");
        for word in ["quiet", "a=b.c", ".x=1", "x.=1", "rd.break=api"] {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            assert!(!Options::default().word(name, value), "{word}");
        }
    }

    #[test]
    fn every_spelling_of_a_blacklist_counts() {
        let options = read(&["module_blacklist=a-b,c", "modprobe.blacklist=d", "rd.driver.blacklist=e,,f"]);
        for name in ["a_b", "a-b", "/x/a-b.ko.zst", "c", "d", "e", "f.ko"] {
            assert!(options.is_blacklisted(name), "{name}");
        }
        for name in ["", "b", "cc", "/c/x.ko"] {
            assert!(!options.is_blacklisted(name), "{name}");
        }
    }
}
