//! A kernel's configuration, where it lies beside its modules: finding it and reading single values.

use std::{collections::BTreeMap, fs, path::Path};

/// The `CONFIG_…` values of a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    values: BTreeMap<String, String>,
}

impl KernelConfig {
    /// Reads the format that the kernel's `make` writes. `None` where there is no `CONFIG_` line at all, so it was another file.
    pub fn parse(text: &str) -> Option<Self> {
        let values: BTreeMap<String, String> = text
            .lines()
            .filter(|line| line.starts_with("CONFIG_"))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_string(), value.trim().trim_matches('"').to_string()))
            .collect();
        (!values.is_empty()).then_some(Self { values })
    }

    /// Finds the configuration that belongs to a directory of modules: in the directory itself (Fedora), in the kernel's headers beside it, or
    /// in the `boot` of the root it lies in (Debian). What cannot be read is as good as not there: it only gives better defaults.
    pub fn find(modules: &Path, version: &str) -> Option<Self> {
        let modules = modules.canonicalize().ok()?;
        let boot = modules.ancestors().skip(3).take(2).map(|root| root.join("boot").join(format!("config-{version}")));
        let mut places = vec![modules.join("config"), modules.join("build/.config")];
        places.extend(boot);
        places.iter().find_map(|place| Self::parse(&fs::read_to_string(place).ok()?))
    }

    /// Returns a value without its quotes, `y` or `m` for a switch. `None` where it is not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let config =
            KernelConfig::parse("# Linux\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"ascii\"\nCONFIG_D=437\n")
                .unwrap();
        assert_eq!(config.get("CONFIG_A"), Some("y"));
        assert_eq!(config.get("CONFIG_B"), None);
        assert_eq!(config.get("CONFIG_C"), Some("ascii"));
        assert_eq!(config.get("CONFIG_D"), Some("437"));
        assert_eq!(KernelConfig::parse("{\"json\": true}"), None);
    }

    #[test]
    fn it_is_found_in_the_root_of_the_modules() {
        for place in ["lib/modules/6.1", "usr/lib/modules/6.1"] {
            let root = tempfile::tempdir().unwrap();
            let modules = root.path().join(place);
            fs::create_dir_all(&modules).unwrap();
            assert_eq!(KernelConfig::find(&modules, "6.1"), None);
            fs::create_dir(root.path().join("boot")).unwrap();
            fs::write(root.path().join("boot/config-6.1"), "CONFIG_A=y\n").unwrap();
            assert_eq!(KernelConfig::find(&modules, "6.1").unwrap().get("CONFIG_A"), Some("y"), "{place}");
        }
    }
}
