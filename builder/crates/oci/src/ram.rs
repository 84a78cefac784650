//! The files added to an image so that its root boots by itself: init, the workload that it runs, the attributes that an archive
//! cannot carry, and the network program. Changes the tree, and reads nothing but the image's config.

use archive::tree::{Content, Entry, Kind, OnConflict};
use base::escape::escape;
use contract::{
    attributes::{self, Attribute},
    names,
    workload::{PATH, Process, Workload, signal, variable},
};

use super::{config::Run, merge::Merge, network::Busybox};
use crate::{Error, Result};

/// The user's run settings. The image's config supplies those that are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOverrides {
    /// The program and its first arguments; one empty word stands for none.
    pub entrypoint: Vec<String>,
    /// More arguments.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`, beside the image's or instead of them.
    pub env: Vec<String>,
    /// The directory that it starts in.
    pub directory: Option<String>,
    /// The user to run as, in the form of [`Run::user`].
    pub user: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// The process that it becomes; by its name where nothing is said.
    pub process: Option<Process>,
}

impl RunOverrides {
    /// Returns true if the user named a program or arguments.
    #[must_use]
    pub fn name_program(&self) -> bool {
        !self.entrypoint.is_empty() || !self.cmd.is_empty()
    }
}

/// Returns the workload: the image's config with the user's overrides. An entrypoint of the user's also drops the image's
/// arguments, as in container engines.
///
/// # Errors
/// [`Error::Usage`] for an override that is not valid, [`Error::Image`] for a config that is not.
pub fn workload(image: &str, run: &Run, wishes: &RunOverrides) -> Result<Workload> {
    let refuse = |reason: String| Err(Error::Image { image: image.to_owned(), reason });
    let mut env = run.env.clone();
    for wish in &wishes.env {
        let Some((name, _)) = wish.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::Usage(format!("--env {wish}: expected NAME=VALUE")));
        };
        if variable(&env, name).is_some() {
            env.retain(|entry| entry.split_once('=').map(|(known, _)| known) != Some(name));
        }
        env.push(wish.clone());
    }
    let (mut entrypoint, mut cmd) = (run.entrypoint.clone(), run.cmd.clone());
    if !wishes.entrypoint.is_empty() {
        entrypoint =
            wishes.entrypoint.iter().filter(|word| wishes.entrypoint.len() > 1 || !word.is_empty()).cloned().collect();
        cmd.clear();
    }
    if !wishes.cmd.is_empty() {
        cmd.clone_from(&wishes.cmd);
    }
    let directory = wishes.directory.clone().unwrap_or_else(|| run.working_dir.clone());
    if !directory.is_empty() && (!directory.starts_with('/') || directory.split('/').any(|part| part == "..")) {
        return match wishes.directory {
            Some(_) => Err(Error::Usage(format!("--workdir {directory}: expected an absolute path without `..`"))),
            None => refuse(format!("its WorkingDir `{directory}` is not an absolute path; give one with --workdir")),
        };
    }
    if !run.stop_signal.is_empty() && signal(&run.stop_signal).is_none() {
        return refuse(format!(
            "its StopSignal `{}` is not a signal: expected a name such as `SIGQUIT` or `SIGRTMIN+3`, or a number from 1 to 64",
            run.stop_signal
        ));
    }
    let workload = Workload {
        entrypoint,
        cmd,
        env,
        directory,
        user: wishes.user.clone().unwrap_or_else(|| run.user.clone()),
        stop_signal: run.stop_signal.clone(),
        hostname: wishes.hostname.clone().unwrap_or_else(|| run.hostname.clone()),
        ..Workload::default()
    };
    match workload.to_bytes() {
        Ok(_) => Ok(workload),
        Err(name) => refuse(format!("its {name} has a NUL byte, which no program can be given")),
    }
}

/// The path of the root.
const ROOT: &Vec<u8> = &Vec::new();

/// Detects the process that the program must be, by its name and that of the file that it is in the root.
#[must_use]
pub fn detect_process(merge: &Merge, workload: &Workload) -> Process {
    let words = workload.words(None, &[]);
    let Some(name) = words.first() else { return Process::default() };
    let directory = workload.directory();
    let candidates: Vec<String> = match name.contains('/') {
        true if name.starts_with('/') => vec![name.clone()],
        true => vec![format!("{directory}/{name}")],
        false => {
            let path = variable(&workload.env, "PATH").unwrap_or(PATH);
            path.split(':')
                .map(|place| format!("{}/{name}", if place.is_empty() { directory } else { place }))
                .collect()
        }
    };
    let file = candidates.iter().find_map(|path| merge.real_path(path.as_bytes())).unwrap_or_default();
    Process::detect(name, &String::from_utf8_lossy(&file))
}

/// Makes the directories that the image's volumes are mounted on in a container, where they are missing.
///
/// # Errors
/// [`Error::Image`] for a volume whose path cannot be.
pub fn make_volumes(image: &str, run: &Run, merge: &mut Merge) -> Result<()> {
    for volume in &run.volumes {
        let refuse = |reason: String| Error::Image {
            image: image.to_owned(),
            reason: format!("its Volume `{}`: {reason}", escape(volume.as_bytes())),
        };
        let names = super::merge::components(volume.as_bytes()).map_err(refuse)?;
        let Some((name, parents)) = names.split_last() else { continue };
        let path = super::merge::join(&merge.resolve(parents).map_err(refuse)?, name);
        // What is there is there, a link among it.
        if merge.tree.get(&path).is_none() {
            merge.create_parents(&path).map_err(refuse)?;
        }
    }
    Ok(())
}

/// Puts all of it into the root, with the network where there is a BusyBox for it. What the image has at `/init` gives way and is put
/// back by init.
///
/// # Errors
/// [`Error::Image`] where the image has something in the places that init needs.
pub fn put(
    image: &str,
    merge: &mut Merge,
    workload: &Workload,
    init: Content,
    network: Option<Busybox<'_>>,
) -> Result<()> {
    let refuse = |reason: String| Err(Error::Image { image: image.to_owned(), reason });
    let directory = names::WORKLOAD.trim_start_matches('/').split('/').next().unwrap_or_default();
    if merge.tree.get(directory).is_some() {
        return refuse(format!(
            "it has /{directory}, where init keeps its own files; leave it out with --exclude /{directory}, or give an init of your own with --own-init"
        ));
    }
    merge.tree.insert(directory, Entry::directory(0o700), OnConflict::Refuse)?;
    let mut workload = workload.clone();
    if let Some(busybox) = network {
        workload.start = super::network::put(merge, busybox)?;
        workload.switches_on = true;
    }
    let kept = path(names::KEPT_INIT);
    match merge.tree.get("init").map(|entry| entry.kind.clone()) {
        None => {}
        Some(Kind::Directory) => {
            return refuse("its /init is a directory, and the kernel runs the program of that name; leave it out with --exclude /init".to_owned());
        }
        Some(Kind::Symlink(target)) => merge.tree.insert(kept, Entry::symlink(target), OnConflict::Refuse)?,
        Some(_) => merge.tree.link("init", kept, OnConflict::Refuse)?,
    }
    merge.tree.remove("init");
    if let Some(attributes) = merge.xattrs.remove(&b"init"[..]) {
        merge.xattrs.insert(kept.as_bytes().to_vec(), attributes);
    }
    merge.tree.insert("init", Entry::file(0o755, init), OnConflict::Refuse)?;
    let mut put = |name: &str, bytes: Vec<u8>| {
        merge.tree.insert(path(name), Entry::file(0o600, Content::Bytes(bytes)), OnConflict::Refuse)
    };
    // The root's own have no path, which is the root's.
    let of_root = merge.root.iter().map(|root| (ROOT, &root.xattrs));
    let listed = attributes::to_bytes(of_root.chain(&merge.xattrs).flat_map(|(path, attributes)| {
        attributes.iter().filter_map(|(name, value)| {
            Some(Attribute { path: str::from_utf8(path).ok()?, name: str::from_utf8(name).ok()?, value: value.clone() })
        })
    }));
    if !listed.is_empty() {
        put(names::ATTRIBUTES, listed)?;
    }
    put(names::WORKLOAD, Vec::new())?;
    // Now all is there but its own few bytes, and what a page holds counts as a page.
    workload.root_mode = merge.root.as_ref().map(|root| root.entry.mode);
    workload.memory = super::pack::memory(&merge.tree);
    let bytes = workload.to_bytes().unwrap_or_default();
    Ok(merge.tree.insert(path(names::WORKLOAD), Entry::file(0o600, Content::Bytes(bytes)), OnConflict::Replace)?)
}

/// Returns a name of the contract as the tree has it.
fn path(name: &str) -> &str {
    name.trim_start_matches('/')
}

/// Returns the error for an image that names no program, with the options that fix it.
#[must_use]
pub fn nothing_to_run(image: &str) -> Error {
    let reason =
        "it does not say what to run; name a program with --entrypoint, or give an init of your own with --own-init";
    Error::Image { image: escape(image.as_bytes()).to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn run() -> Run {
        Run {
            entrypoint: strings(&["/e", "1"]),
            cmd: strings(&["c"]),
            env: strings(&["A=1", "B=2"]),
            working_dir: "/w".into(),
            user: "web".into(),
            stop_signal: "SIGQUIT".into(),
            ..Run::default()
        }
    }

    #[test]
    fn wishes_come_before_the_config() {
        let plain = workload("i", &run(), &RunOverrides::default()).unwrap();
        assert_eq!((plain.words(None, &[]), plain.user.as_str(), plain.stop()), (strings(&["/e", "1", "c"]), "web", 3));
        for (entrypoint, cmd, words) in [
            (&["/x"][..], &[][..], &["/x"][..]),
            (&["/x"], &["-y"], &["/x", "-y"]),
            (&[], &["-y", "z"], &["/e", "1", "-y", "z"]),
            (&[""], &["/y"], &["/y"]),
            (&[""], &[], &[]),
        ] {
            let wishes = RunOverrides { entrypoint: strings(entrypoint), cmd: strings(cmd), ..RunOverrides::default() };
            assert_eq!(
                workload("i", &run(), &wishes).unwrap().words(None, &[]),
                strings(words),
                "{entrypoint:?} {cmd:?}"
            );
        }
        let wishes = RunOverrides {
            env: strings(&["B=", "C=3"]),
            directory: Some("/other".into()),
            user: Some(String::new()),
            hostname: Some("box".into()),
            ..RunOverrides::default()
        };
        let wished = workload("i", &run(), &wishes).unwrap();
        assert_eq!((wished.env, wished.directory.as_str()), (strings(&["A=1", "B=", "C=3"]), "/other"));
        assert_eq!((wished.user.as_str(), wished.hostname.as_str()), ("", "box"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wished = |wishes: RunOverrides| workload("i", &run(), &wishes).unwrap_err().to_string();
        for (wishes, part) in [
            (RunOverrides { env: strings(&["A"]), ..RunOverrides::default() }, "--env A: expected NAME=VALUE"),
            (RunOverrides { env: strings(&["=A"]), ..RunOverrides::default() }, "--env =A: expected NAME=VALUE"),
            (
                RunOverrides { directory: Some("w".into()), ..RunOverrides::default() },
                "--workdir w: expected an absolute path",
            ),
            (
                RunOverrides { directory: Some("/a/../b".into()), ..RunOverrides::default() },
                "--workdir /a/../b: expected",
            ),
        ] {
            let text = wished(wishes);
            assert!(text.contains(part), "{text}");
        }
        for (config, part) in [
            (Run { working_dir: "x".into(), ..run() }, "its WorkingDir `x` is not an absolute path"),
            (Run { stop_signal: "SIGSTOPP".into(), ..run() }, "its StopSignal `SIGSTOPP` is not a signal: expected"),
            (Run { stop_signal: "RTMIN+16".into(), ..run() }, "its StopSignal `RTMIN+16` is not a signal: expected"),
            (Run { stop_signal: "SIG9".into(), ..run() }, "its StopSignal `SIG9` is not a signal: expected"),
            (Run { user: "a\0b".into(), ..run() }, "its user has a NUL byte"),
        ] {
            let text = workload("i", &config, &RunOverrides::default()).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn init_sends_the_signal_that_the_image_names() {
        for (text, number) in
            [("", 15), ("SIGQUIT", 3), ("quit", 3), ("sigRtMin+3", 37), ("RTMAX-14", 50), ("CLD", 17), ("28", 28)]
        {
            let config = Run { stop_signal: text.into(), ..run() };
            let bytes = workload("i", &config, &RunOverrides::default()).unwrap().to_bytes().unwrap();
            assert_eq!(Workload::parse(str::from_utf8(&bytes).unwrap()).stop(), number, "{text}");
        }
    }

    #[test]
    fn inits_are_found_through_links() {
        let mut merge = Merge::default();
        merge.insert(b"sbin", Entry::symlink("usr/sbin")).unwrap();
        for (path, target) in
            [(&b"usr/sbin/init"[..], "/lib/systemd/systemd"), (b"lib", "usr/lib"), (b"usr/bin/other", "tini")]
        {
            merge.insert(path, Entry::symlink(target)).unwrap();
        }
        for path in [&b"usr/lib/systemd/systemd"[..], b"usr/bin/tini"] {
            merge.insert(path, Entry::file(0o755, Content::Bytes(Vec::new()))).unwrap();
        }
        let process = |words: &[&str], env: &[&str]| {
            let workload = Workload { entrypoint: strings(words), env: strings(env), ..Workload::default() };
            detect_process(&merge, &workload)
        };
        assert_eq!(process(&["/sbin/init"], &[]), Process::Machine);
        assert_eq!(process(&["init"], &[]), Process::Machine);
        assert_eq!(process(&["init"], &["PATH=/usr/bin"]), Process::Namespace);
        assert_eq!(process(&["other", "--", "app"], &[]), Process::Namespace);
        assert_eq!(process(&["/bin/sh", "/sbin/init"], &[]), Process::Child);
        assert_eq!(process(&[], &[]), Process::Child);
    }

    #[test]
    fn volumes_have_their_directories() {
        let mut merge = Merge::default();
        merge.insert(b"var", Entry::symlink("/data")).unwrap();
        merge.insert(b"file", Entry::file(0o644, Content::Bytes(Vec::new()))).unwrap();
        let run = |volumes: &[&str]| Run { volumes: strings(volumes), ..Run::default() };
        make_volumes("i", &run(&["/var/lib/db", "/var", "srv/", "/", "/file"]), &mut merge).unwrap();
        let names: Vec<_> = merge.tree.iter().map(|node| String::from_utf8_lossy(node.path).into_owned()).collect();
        assert_eq!(names, ["data", "data/lib", "data/lib/db", "file", "srv", "var"]);
        let error = make_volumes("i", &run(&["/file/x"]), &mut merge).unwrap_err().to_string();
        assert!(error.contains("its Volume `/file/x`: its parent `file` is a file"), "{error}");
        assert!(make_volumes("i", &run(&["../x"]), &mut merge).is_err());
    }

    #[test]
    fn an_init_of_the_image_is_kept() {
        let mut merge = Merge::default();
        merge.insert(b"init", Entry::file(0o755, Content::Bytes(b"theirs".to_vec()))).unwrap();
        merge.xattrs.insert(b"init".to_vec(), [(b"user.a".to_vec(), vec![1])].into());
        put("i", &mut merge, &Workload::default(), Content::Bytes(b"ours".to_vec()), None).unwrap();
        let content = |path: &str| match &merge.tree.get(path).unwrap().kind {
            Kind::File(Content::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((content("init"), content(".initramfs/init")), ("ours".into(), "theirs".into()));
        assert_eq!(content(".initramfs/attributes"), ".initramfs/init\0user.a\x0001\0");
        assert!(content(".initramfs/workload").starts_with("memory="));
        let error =
            put("i", &mut merge, &Workload::default(), Content::Bytes(Vec::new()), None).unwrap_err().to_string();
        assert!(error.contains("it has /.initramfs"), "{error}");
        let mut directory = Merge::default();
        directory.insert(b"init", Entry::directory(0o755)).unwrap();
        assert!(put("i", &mut directory, &Workload::default(), Content::Bytes(Vec::new()), None).is_err());
        let mut link = Merge::default();
        link.insert(b"init", Entry::symlink("bin/x")).unwrap();
        put("i", &mut link, &Workload::default(), Content::Bytes(Vec::new()), None).unwrap();
        assert_eq!(link.tree.get(".initramfs/init").unwrap().kind, Kind::Symlink(b"bin/x".to_vec()));
    }
}
