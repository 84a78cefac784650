//! For `bench/rotate`: puts the image on one partition in the place of the one on the other, with all of the init's code for it,
//! in a mount namespace of its own. Usage: `rotate IMG NEWIMG`, two block devices with ext4. Prints the seconds it took, the peak
//! memory of this program in KiB, and the report's word for it.

use std::{fs, path::Path, process::ExitCode, time::Instant};

use contract::tag::Volume;
use initramfs_overlay_init::{
    boot::{
        layers::store::Store,
        overlay::{
            config::Config,
            device::{self, Found},
            update,
        },
    },
    config::Abilities,
    context::Context,
    kernel::linux::Linux,
};
use nix::{mount::MsFlags, sched::CloneFlags};

fn main() -> ExitCode {
    let devices: Vec<String> = std::env::args().skip(1).collect();
    let [img, newimg] = devices.as_slice() else {
        eprintln!("usage: rotate IMG NEWIMG, two block devices with ext4");
        return ExitCode::from(2);
    };
    match run(img, newimg) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rotate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(img: &str, newimg: &str) -> Result<String, Box<dyn std::error::Error>> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    nix::mount::mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    for directory in ["img", "image", "newimg"] {
        fs::create_dir_all(Path::new("/run/initramfs").join(directory))?;
    }
    let volume = |device: &str| {
        let name = device.trim_start_matches("/dev/").to_string();
        Volume { disk: name.clone(), name, kind: Some("ext4".into()), ..Volume::default() }
    };
    let config = Config::default();
    let (img, newimg) = (volume(img), Some(volume(newimg)));
    let found = Found { img, overlay: None, newimg, boot: None, boot_tag: config.boot.clone() };
    let mut kernel = Linux::new();
    let mut context = Context::new(&mut kernel, Abilities { shell: false, trust: false });
    device::mount_img(&mut context, &found.img)?;
    let start = Instant::now();
    update::update(&mut context, &config, &found, &mut Store::new(None));
    let seconds = start.elapsed().as_secs_f64();
    let report = context.report.to_json(None);
    let word = report.lines().find_map(|line| line.trim().strip_prefix("\"update\": ")).unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak = peak.split_whitespace().next().unwrap_or_default();
    Ok(format!("{seconds:.3} {peak} {}", word.trim_matches(['"', ','])))
}
