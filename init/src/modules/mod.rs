//! Kernel modules: which are baked into the image, what each needs, when each is loaded. A module is loaded only when what it
//! serves is about to be used: a driver when the hardware is there, a filesystem when it is about to be mounted. This room asks
//! the kernel to load files; it mounts nothing and finds no devices.

mod fault;
pub mod file;
pub mod hardware;
mod lists;
mod medium;
pub mod options;
pub mod unlisted;

use std::io;

use contract::{
    glob,
    inventory::Kind,
    module_index::{self, Index, Module},
    names,
};

use crate::{
    error::{Error, Result},
    kernel::{Level, Machine, ModuleFile, exists, read_file, read_text, release},
};

use fault::load_error;
pub use medium::{OnBoot, load_from, load_from_boot};
use options::Options;

/// The modules baked into the image for the running kernel, and which of them are loaded.
#[derive(Debug, Default)]
pub struct Modules {
    directory: String,
    index: Index,
    /// Positions in the index of what was asked of the kernel, and of what it refused.
    loaded: Vec<usize>,
    failed: Vec<usize>,
    /// True once an index for the running kernel was found.
    listed: bool,
    other_kernels: Vec<String>,
    options: Options,
    /// Version of the running kernel.
    release: String,
    processors: usize,
}

impl Modules {
    /// Looks for modules of the running kernel below `/lib/modules`. None there is no error: the kernel may have all it needs.
    pub fn open(kernel: &mut dyn Machine, options: &Options) -> Self {
        let release = release(kernel);
        let directory = ["/", names::MODULES_DIR, "/", &release].concat();
        let processors = hardware::processors(kernel);
        let mut modules = Self { directory, options: options.clone(), processors, release, ..Self::default() };
        match read_file(kernel, &[&modules.directory, "/", module_index::FILE_NAME].concat()) {
            Ok(bytes) => {
                modules.listed = true;
                match Index::parse(&String::from_utf8_lossy(&bytes)) {
                    Ok(index) => modules.index = index,
                    Err(error) => kernel.log(Level::Warning, &format!("{}: {error}", module_index::FILE_NAME)),
                }
            }
            Err(_) => {
                let all = ["/", names::MODULES_DIR].concat();
                let mut others = kernel.list(&all).unwrap_or_default();
                // Modules may lie there without a directory for their kernel.
                others.retain(|name| {
                    kernel.stat(&[&all, "/", name].concat()).is_ok_and(|stat| stat.kind == Kind::Directory)
                });
                if !others.contains(&modules.release) {
                    modules.other_kernels = others;
                }
            }
        }
        if let Some(line) = modules.mismatch() {
            kernel.log(Level::Warning, &line);
        }
        modules
    }

    /// Returns true where an index names the modules for the running kernel.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Returns true once the index was looked for.
    pub fn is_open(&self) -> bool {
        !self.directory.is_empty()
    }

    /// Returns the number of modules that are baked in.
    pub fn count(&self) -> usize {
        self.index.modules.len()
    }

    /// Writes the lists that `modprobe` reads, where an index names the modules.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_lists(&self, kernel: &mut dyn Machine) -> io::Result<()> {
        if !self.listed {
            return Ok(());
        }
        kernel.write(&[&self.directory, "/modules.dep"].concat(), lists::dependencies(&self.index).as_bytes())?;
        kernel.write(&[&self.directory, "/modules.alias"].concat(), lists::aliases(&self.index).as_bytes())
    }

    /// Says so where what is baked in is for other kernels than the one that runs.
    pub fn mismatch(&self) -> Option<String> {
        if self.other_kernels.is_empty() {
            return None;
        }
        let others = self.other_kernels.join(", ");
        Some(format!("the modules in this image are for kernel {others}, but {} is running", self.release))
    }

    /// Returns true if a module of that name is baked in.
    pub fn has(&self, name: &str) -> bool {
        self.index.modules.iter().any(|module| module.name == name)
    }

    /// Loads what is to be loaded at every boot.
    pub fn load_always(&mut self, kernel: &mut dyn Machine) {
        let wanted = positions(&self.index, |module| module.always && self.may_load(module));
        self.load(kernel, &wanted);
    }

    /// Loads the drivers that say they serve one of these devices. Returns whether any was new.
    pub fn serve(&mut self, kernel: &mut dyn Machine, modaliases: &[String]) -> bool {
        let wanted = self.drivers(modaliases);
        let new = wanted.iter().any(|position| !self.loaded.contains(position));
        self.load(kernel, &wanted);
        new
    }

    /// Loads the drivers for all devices that are there, and for the devices that appear through them. With a processor to
    /// spare, `ahead` loads beside them: filesystems that are sure to be wanted later.
    pub fn coldplug(&mut self, kernel: &mut dyn Machine, ahead: &[&str]) {
        if !self.index.modules.iter().any(Module::is_driver) {
            return;
        }
        let mut ahead = if self.processors > 1 { self.named(ahead) } else { Vec::new() };
        loop {
            let mut wanted = self.unserved(kernel);
            ahead.retain(|position| !self.loaded.contains(position));
            wanted.append(&mut ahead);
            if wanted.is_empty() {
                return;
            }
            self.load(kernel, &wanted);
        }
    }

    /// Loads the drivers for all devices that are there as [`Self::coldplug`] does, but those of network cards first, and calls
    /// `switch_on` behind each of these and whenever a card may have appeared.
    pub fn coldplug_cards(&mut self, kernel: &mut dyn Machine, mut switch_on: impl FnMut(&mut dyn Machine)) {
        if !self.index.modules.iter().any(Module::is_driver) {
            return;
        }
        // Those that more than one processor loads at the same time come together.
        let together = if self.processors > 1 { usize::MAX } else { 1 };
        loop {
            let wanted = self.unserved(kernel);
            if wanted.is_empty() {
                return;
            }
            let (cards, others): (Vec<usize>, Vec<usize>) =
                wanted.into_iter().partition(|position| self.index.modules.get(*position).is_some_and(Module::is_card));
            for wanted in cards.chunks(together).chain([&others[..]]) {
                self.load(kernel, wanted);
                switch_on(kernel);
            }
        }
    }

    /// Returns the drivers that are not loaded yet and say they serve a device that is there.
    fn unserved(&self, kernel: &mut dyn Machine) -> Vec<usize> {
        let modaliases = hardware::modaliases(kernel, &self.buses());
        let mut wanted = self.drivers(&modaliases);
        wanted.retain(|position| !self.loaded.contains(position));
        wanted
    }

    /// Returns the drivers that say they serve one of these devices.
    fn drivers(&self, modaliases: &[String]) -> Vec<usize> {
        positions(&self.index, |module| {
            module.aliases.iter().any(|pattern| modaliases.iter().any(|alias| glob::matches(pattern, alias)))
                && self.may_load(module)
        })
    }

    /// Returns the buses on which the baked-in drivers' devices can be; none where that cannot be told from the aliases.
    fn buses(&self) -> Vec<&str> {
        // Only these have all their devices on a bus of the same name (kernel, scripts/mod/file2alias.c).
        const BUSES: [&str; 7] = ["hid", "mmc", "pci", "scsi", "sdio", "usb", "virtio"];
        let mut buses = Vec::new();
        for alias in self.index.modules.iter().flat_map(|module| &module.aliases) {
            match alias.split_once(':') {
                Some((bus, _)) if buses.contains(&bus) => {}
                Some((bus, _)) if BUSES.contains(&bus) => buses.push(bus),
                Some(_) => return Vec::new(),
                None => {}
            }
        }
        buses
    }

    /// Loads modules that are sure to be wanted, in this order, in one go. What would not load is logged; it fails the boot where
    /// it is needed.
    ///
    /// After each module the kernel gives back the memory that its file was read to and that of its start code. A processor that
    /// flushes its TLB page by page (kernel, arch/arm/mm/tlb-v6.S) then walks over all the addresses between the two, hundreds
    /// of megabytes. Put off until the last module is in, that happens once.
    pub fn load_together(&mut self, kernel: &mut dyn Machine, names: &[&str]) {
        let known = filesystems(kernel);
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| match *name {
                "loop" => !exists(kernel, "/dev/loop-control"),
                filesystem => !is_listed(&known, filesystem),
            })
            .collect();
        let wanted = self.named(&missing);
        if wanted.iter().all(|position| self.loaded.contains(position)) {
            return;
        }
        self.load_noting(kernel, &wanted, true);
    }

    fn named(&self, names: &[&str]) -> Vec<usize> {
        let find =
            |name: &&str| self.index.modules.iter().position(|module| module.name == **name && self.may_load(module));
        names.iter().filter_map(find).collect()
    }

    /// Loads a baked-in module by its name, with what it needs. Returns false where there is no such module.
    ///
    /// # Errors
    /// The module is there and would not load.
    pub fn load_named(&mut self, kernel: &mut dyn Machine, name: &str) -> Result<bool> {
        let wanted = self.named(&[name]);
        self.load_all(kernel, &wanted)
    }

    /// Makes sure that the kernel can mount `filesystem`, from what is baked in. Returns false where nothing baked in serves it.
    ///
    /// # Errors
    /// A module for it is there and would not load.
    pub fn load_filesystem(&mut self, kernel: &mut dyn Machine, filesystem: &str) -> Result<bool> {
        let mut wanted = self.named(&[filesystem]);
        let is_in = |position: &usize| self.loaded.contains(position) && !self.failed.contains(position);
        if wanted.iter().any(is_in) || knows_filesystem(kernel, filesystem) {
            return Ok(true);
        }
        if wanted.is_empty() {
            let alias = format!("fs-{filesystem}");
            wanted = positions(&self.index, |module| module.aliases.contains(&alias) && self.may_load(module));
        }
        self.load_all(kernel, &wanted)
    }

    /// Returns false for a module that the command line forbids. One that a permitted module needs is loaded all the same, as modprobe does.
    fn may_load(&self, module: &Module) -> bool {
        !self.options.is_blacklisted(&module.name)
    }

    /// Returns the places where a module was looked for, a line each, for the failure card.
    pub fn places(&self) -> Vec<String> {
        let mut place = format!("no module in this image's {}", self.directory);
        if !self.other_kernels.is_empty() {
            place.push_str(&format!(" (what it has is for kernel {})", self.other_kernels.join(", ")));
        }
        let mut all = vec![place];
        all.extend(self.options.note());
        all
    }

    fn load_all(&mut self, kernel: &mut dyn Machine, wanted: &[usize]) -> Result<bool> {
        // What was refused when nobody depended on it is tried again: now the reason matters.
        self.loaded.retain(|position| !wanted.contains(position) || !self.failed.contains(position));
        let failures = self.load_noting(kernel, wanted, false);
        for (position, error) in failures {
            if wanted.contains(&position) {
                return Err(error);
            }
        }
        Ok(!wanted.is_empty())
    }

    fn load(&mut self, kernel: &mut dyn Machine, wanted: &[usize]) {
        self.load_noting(kernel, wanted, false);
    }

    /// Loads `wanted` and all it needs, `first`: before everything else that wants the processor. What would not load is logged and
    /// returned: whether that matters is for the caller.
    fn load_noting(&mut self, kernel: &mut dyn Machine, wanted: &[usize], first: bool) -> Vec<(usize, Error)> {
        let mut plan = closure(&self.index, wanted);
        plan.retain(|position| !self.loaded.contains(position));
        if plan.is_empty() {
            return Vec::new();
        }
        let files: Vec<ModuleFile> = plan
            .iter()
            .filter_map(|position| self.index.modules.get(*position))
            .map(|module| ModuleFile {
                path: [&self.directory, "/", &module.path].concat(),
                parameters: self.options.parameters(&module.path),
                after: plan
                    .iter()
                    .enumerate()
                    .filter(|(_, other)| {
                        self.index.modules.get(**other).is_some_and(|other| module.needs.contains(&other.name))
                    })
                    .map(|(place, _)| place)
                    .collect(),
                content: None,
            })
            .collect();
        let results = kernel.load_modules(&files, self.processors.min(files.len()), first);
        let mut failures = Vec::new();
        for ((position, file), result) in plan.into_iter().zip(&files).zip(results) {
            self.loaded.push(position);
            if let Err(source) = result {
                self.failed.push(position);
                let error = load_error(kernel, file, source);
                kernel.log(Level::Info, &error.with_cause());
                failures.push((position, error));
            }
        }
        failures
    }
}

/// Returns true if the kernel knows the filesystem already (`/proc/filesystems`).
pub fn knows_filesystem(kernel: &mut dyn Machine, filesystem: &str) -> bool {
    is_listed(&filesystems(kernel), filesystem)
}

/// Returns the kernel's list of filesystems; empty where it cannot be read.
fn filesystems(kernel: &mut dyn Machine) -> String {
    read_text(kernel, "/proc/filesystems")
}

fn is_listed(list: &str, filesystem: &str) -> bool {
    list.lines().any(|line| line.split('\t').nth(1) == Some(filesystem))
}

fn positions(index: &Index, wanted: impl Fn(&Module) -> bool) -> Vec<usize> {
    index.modules.iter().enumerate().filter(|(_, module)| wanted(module)).map(|(position, _)| position).collect()
}

/// Returns `wanted` with all it needs: each behind what it needs, otherwise in the order it was asked for.
fn closure(index: &Index, wanted: &[usize]) -> Vec<usize> {
    let mut all = Vec::new();
    for position in wanted {
        let mut needed = Vec::new();
        let mut pending = vec![*position];
        while let Some(position) = pending.pop() {
            if all.contains(&position) || needed.contains(&position) {
                continue;
            }
            // The index is in load order, so what is needed stays sorted.
            let place = needed.iter().position(|other| *other > position).unwrap_or(needed.len());
            needed.insert(place, position);
            if let Some(module) = index.modules.get(position) {
                pending.extend(positions(index, |other| {
                    module.needs.contains(&other.name) || module.post.contains(&other.name)
                }));
            }
        }
        all.extend(needed);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index::parse(
            "crc32c_generic c.ko alias=crypto-crc32c\nlibcrc32c l.ko needs=crc32c_generic\nvirtio_pci_modern_dev m.ko\n\
             virtio_pci p.ko needs=virtio_pci_modern_dev alias=pci:v00001AF4d*sv*sd*bc*sc*i*\nlate late.ko\n\
             ext4 e.ko needs=libcrc32c post=late alias=fs-ext4\n",
        )
        .unwrap()
    }

    #[test]
    fn the_closure_is_in_load_order() {
        let index = index();
        let wanted = positions(&index, |module| module.name == "ext4");
        let names: Vec<&str> = closure(&index, &wanted).into_iter().map(|p| index.modules[p].name.as_str()).collect();
        assert_eq!(names, ["crc32c_generic", "libcrc32c", "late", "ext4"]);
    }
}
