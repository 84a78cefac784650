//! The cases that public projects test their readers of layers with, rebuilt by generators: Go's archive/tar, CPython's tarfile,
//! libarchive, containerd, umoci, containers/storage, and products of fields and forms. Where umoci and GNU tar read the same tree, that
//! is ours; where they read two, the layer is refused. Needs root: devices are made and files are given away.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

#[path = "../../../../tests/oci_images/block.rs"]
mod block;
mod fields;
mod layers;
#[path = "../../../../tests/oci_images/layout.rs"]
mod made;
mod readers;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod tars;

use readers::Read;

/// A test case.
pub struct Sample {
    /// The project and its name for it.
    name: String,
    layers: Vec<Vec<u8>>,
    /// True if GNU tar understands it: one layer, no whiteouts.
    is_archive: bool,
    /// The reason for refusing it although both others read it.
    refused: Option<&'static str>,
}

impl Sample {
    /// Makes a sample of one archive that every program reads.
    pub fn archive(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), layers: vec![bytes], is_archive: true, refused: None }
    }

    /// Makes a sample of layers that are put on each other.
    pub fn layers(name: impl Into<String>, layers: Vec<Vec<u8>>) -> Self {
        Self { name: name.into(), layers, is_archive: false, refused: None }
    }

    /// Says why it is refused although the others agree.
    pub fn refused(self, part: &'static str) -> Self {
        Self { refused: Some(part), ..self }
    }
}

/// Compares; `Ok(true)` where the others agree.
fn compare(sample: &Sample, directory: &Path) -> Result<bool, String> {
    let layout = directory.join("layout");
    let ours = readers::ours(&readers::image(&layout, &sample.layers));
    let umoci = readers::umoci(directory, &layout);
    let gnu = match sample.is_archive {
        true => readers::gnu_tar(directory, &sample.layers[0]),
        false => umoci.clone(),
    };
    let show = |read: &Read| match read {
        Ok(lines) => format!("{lines:#?}"),
        Err(reason) => format!("refused: {reason}"),
    };
    let differs = |wanted: &str| {
        Err(format!("{}: {wanted}\nours {}\numoci {}\nGNU tar {}", sample.name, show(&ours), show(&umoci), show(&gnu)))
    };
    if let Some(part) = sample.refused {
        return match &ours {
            Err(reason) if reason.contains(part) => Ok(false),
            _ => differs("should be refused"),
        };
    }
    match (&umoci, &gnu) {
        (Ok(umoci), Ok(gnu)) if umoci == gnu => match &ours {
            Ok(ours) if ours == umoci => Ok(true),
            _ => differs("is not what umoci and GNU tar read"),
        },
        (Ok(_), Ok(_)) if ours.is_ok() => differs("is read although umoci and GNU tar read two things"),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if ours.as_ref().is_ok_and(|ours| ours != one) => {
            differs("is not what the only one that reads it reads")
        }
        _ => Ok(false),
    }
}

#[test]
fn layers_are_what_other_programs_read() {
    if !["umoci", "tar"].into_iter().all(support::installed) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: umoci needs root");
        return;
    }
    let samples: Vec<Sample> = [tars::samples(), fields::samples(), layers::samples()].into_iter().flatten().collect();
    let names: std::collections::BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names.len(), samples.len(), "two samples have the same name");
    let directory = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Result<bool, String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((number, sample)) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|n| Some((n, samples.get(n)?)))
                {
                    let directory = directory.path().join(number.to_string());
                    let result = compare(sample, &directory);
                    let _ = fs::remove_dir_all(&directory);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let wrong: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let agreed = results.iter().filter(|result| matches!(result, Ok(true))).count();
    let _ = writeln!(
        std::io::stderr(),
        "corpus: {} samples, {agreed} of them read by umoci and GNU tar alike",
        samples.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        samples.len(),
        wrong.iter().map(|text| format!("{text}\n")).collect::<String>()
    );
    assert!(agreed > 200, "only {agreed} samples are read alike");
}
