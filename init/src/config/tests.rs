//! Parameters as they are written, and what they mean.

use contract::parameters::words;

use super::*;
use crate::error::Error;

const STANDARD: Abilities = Abilities { shell: false, trust: false };
const DEBUG: Abilities = Abilities { shell: true, trust: false };

fn parsed(line: &str) -> Config {
    let (config, result) = Config::parse(["", line, ""], STANDARD, false);
    result.unwrap();
    config
}

/// Returns the parameters of the appliance.
fn overlay(config: &Config) -> overlay::Config {
    match &config.mode {
        ModeConfig::Overlay(own) => own.clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns the parameters of a root in memory.
fn ram(config: &Config) -> ram::Config {
    match &config.mode {
        ModeConfig::Ram(own) => own.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn words_are_split_as_the_kernel_does() {
    assert_eq!(words("a b=c  d\n"), ["a", "b=c", "d"]);
    assert_eq!(words(r#"a="b c" "d=e f" g="" -- h"#), ["a=b c", "d=e f", "g=", "--", "h"]);
    assert_eq!(words(r#"open="never closed"#), ["open=never closed"]);
    assert!(words(" \n\t").is_empty());
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = parsed("console=ttyS0 BOOT_IMAGE=/vmlinuz");
    assert_eq!(config.common, Common::new(STANDARD));
    assert_eq!(config.mode, ModeConfig::Overlay(overlay::Config::default()));
    assert_eq!(config.common.on_error, OnError::End(Power::Off, None));
    assert!(config.common.breaks.is_empty());
    let (debug, result) = Config::parse(["", "", ""], DEBUG, false);
    assert!(result.is_ok());
    assert_eq!((debug.common.on_error, debug.common.breaks), (OnError::Shell, vec![Step::SwitchRoot]));
}

#[test]
fn the_later_one_wins() {
    let (config, result) = Config::parse(["rd.img=LABEL=a rd.timeout=3s ro", "rd.img=LABEL=b rw", ""], STANDARD, false);
    assert!(result.is_ok());
    assert_eq!(overlay(&config).img, Tag::Label("b".into()));
    assert_eq!(config.common.timeout, Duration::from_secs(3));
    assert!(!config.common.layers.read_only);
}

#[test]
fn the_persistent_layer_can_be_left_out() {
    for (line, persistent) in [("", true), ("rd.persistent=no", false), ("rd.persistent=no rd.persistent=yes", true)] {
        assert_eq!(parsed(line).common.layers.persistent, persistent, "{line}");
    }
    assert!(Config::parse(["", "rd.persistent=maybe", ""], STANDARD, false).1.is_err());
}

#[test]
fn the_final_line_has_the_last_word() {
    let read = |baked, kernel, last| {
        let (config, result) = Config::parse([baked, kernel, last], STANDARD, false);
        result.unwrap();
        config
    };
    let config = read(
        "rd.img=LABEL=a rd.timeout=1s",
        "quiet rd.img=LABEL=b \"rd.img=LABEL=c d\" rd.overlay=nonsense rd.timeout=2s rw",
        "rd.img=LABEL=z rd.overlay=tmpfs ro",
    );
    assert_eq!(
        (overlay(&config).img, config.common.layers.overlay),
        (Tag::Label("z".into()), OverlayStore::Tmpfs(None))
    );
    assert_eq!(config.common.timeout, Duration::from_secs(2), "what it does not name is the kernel's");
    assert!(config.common.layers.read_only, "it comes last");
    let ignored = |word: &str| format!("{word}: ignored, this initramfs has the last word about it");
    assert_eq!(config.warnings, ["rd.img=LABEL=b", "rd.img=LABEL=c d", "rd.overlay=nonsense"].map(ignored));
    // A parameter is known by its name, with a value or without one.
    let config = read("", "rd.toram rd.toram=yes rd.toramx rd.debug", "rd.toram=no rd.debug");
    assert!(!overlay(&config).to_ram && config.common.debug);
    assert_eq!(config.warnings.len(), 4);
    // Of the words behind `--` none is a parameter.
    let config = read("", "init=/bin/a -- rd.image=x", "rd.image=y -- init=/bin/b");
    assert_eq!((config.common.init.as_str(), overlay(&config).image.as_str()), ("/bin/a", "y"));
    assert_eq!(config.common.init_args, ["init=/bin/b"]);
    assert!(Config::parse(["", "", "rd.img=nonsense"], STANDARD, false).1.is_err());
}

#[test]
fn the_final_line_ends_the_arguments_for_init() {
    let read = |kernel, last| Config::parse(["a -- b", kernel, last], STANDARD, true).0;
    let config = read("c -- d", "e");
    assert_eq!(
        (config.common.init_args.as_slice(), config.common.init_args_final),
        (&["a", "b", "e"].map(String::from)[..], false)
    );
    assert_eq!(ram(&config).arguments, ["b", "d"]);
    for last in ["--", "ro --", "-- f"] {
        let config = read("c -- d", last);
        assert!(config.common.init_args_final);
        assert!(!ram(&config).arguments.contains(&"d".into()), "{:?}", ram(&config).arguments);
    }
    assert_eq!(read("c -- d", "-- f g").common.init_args, ["a", "b", "f", "g"]);
}

#[test]
fn every_parameter_is_read() {
    let config = parsed(
        "rd.img=/dev/sda1 rd.boot=UUID=AA rd.newimg=PARTLABEL=new rd.overlay=tmpfs:size=64m rd.overlay.fallback=tmpfs \
         rd.overlay.repair=remake rd.overlay.reset rd.image=os.img rd.timeout=500ms rd.newimg.timeout=5 rd.newimg.tries=3 rd.onerror=reboot:7 init=/bin/x ro debug",
    );
    assert_eq!(overlay(&config).img, Tag::Path("/dev/sda1".into()));
    assert_eq!(overlay(&config).boot, Tag::Uuid("aa".into()));
    assert_eq!(overlay(&config).newimg, Tag::PartLabel("new".into()));
    assert_eq!(config.common.layers.overlay, OverlayStore::Tmpfs(Some("64m".into())));
    assert!(
        config.common.layers.fallback
            && config.common.layers.reset
            && config.common.layers.read_only
            && config.common.debug
    );
    assert_eq!(overlay(&config).image, "os.img");
    assert_eq!(
        (config.common.timeout, overlay(&config).newimg_timeout),
        (Duration::from_millis(500), Duration::from_secs(5))
    );
    assert_eq!((overlay(&config).newimg_tries, config.common.layers.repair), (3, Repair::Remake));
    assert_eq!(config.common.on_error, OnError::End(Power::Reboot, Some(Duration::from_secs(7))));
    assert_eq!(config.common.init, "/bin/x");
    assert!(config.warnings.is_empty());
}

#[test]
fn a_bad_value_that_decides_what_is_mounted_is_an_error() {
    for line in [
        "rd.img=img", "rd.img", "rd.boot=LABEL=", "rd.overlay=", "rd.overlay=tmpfs:size=0%", "rd.overlay=tmpfs:64m",
        "rd.overlay.fallback=yes", "rd.overlay.reset=perhaps", "rd.overlay.repair=yes", "rd.image=../x", "rd.image=",
        "init=sh",
    ] {
        let (config, result) = Config::parse(["", &format!("{line} rd.onerror=halt"), ""], STANDARD, false);
        let name = line.split('=').next().unwrap();
        assert!(matches!(&result, Err(Error::Parameter { name: seen, .. }) if seen == name), "{line}: {result:?}");
        assert_eq!(config.common.on_error, OnError::End(Power::Halt, None), "the policy asked for behind it holds");
    }
}

#[test]
fn dracuts_spelling_of_the_overlay_is_the_usual_one() {
    for line in ["rd.overlay=tmpfs rd.overlay", "rd.overlay=tmpfs rd.overlay=1"] {
        assert_eq!(parsed(line).common.layers.overlay, OverlayStore::usual(), "{line}");
    }
    let (_, result) = Config::parse(["", "rd.overlay=0", ""], STANDARD, false);
    let said = format!("{:?}", result.unwrap_err());
    assert!(said.contains("the root always has a writable layer"), "{said}");
}

#[test]
fn any_other_bad_value_is_a_warning() {
    for (line, part) in [
        ("rd.timeout=soon", "rd.timeout=soon: wanted a time"),
        ("rd.newimg.tries=many", "a number of boots"),
        ("rd.onerror=shell", "a shell is in the debug variant"),
        ("rd.onerror=explode", "rd.onerror=explode"),
        ("rd.watchdog=3", "rd.watchdog=3"),
        ("rd.watchdog", "a time of 10 s"),
        ("rd.button=KEY_RESET", "a key such as KEY_RESTART"),
        ("rd.button", "a key such as KEY_RESTART"),
        ("rd.led=../x", "rd.led=../x"),
        ("rd.break=overlay", "only the debug variant"),
        ("rd.imge=LABEL=x", "did you mean rd.img?"),
        ("rd.overlay.fallbck=tmpfs", "did you mean rd.overlay.fallback?"),
        ("rd.luks.uuid=1", "not one of ours"),
    ] {
        let config = parsed(line);
        assert_eq!(config.warnings.len(), 1, "{line}");
        assert!(config.warnings[0].contains(part), "{line}: {}", config.warnings[0]);
    }
}

#[test]
fn the_kernels_panic_sets_the_policy() {
    assert_eq!(parsed("panic=5").common.on_error, OnError::End(Power::Reboot, Some(Duration::from_secs(5))));
    assert_eq!(parsed("panic=-1").common.on_error, OnError::End(Power::Reboot, Some(Duration::ZERO)));
    assert_eq!(parsed("panic=0").common.on_error, OnError::End(Power::Off, None));
    assert_eq!(parsed("panic=5 rd.onerror=halt").common.on_error, OnError::End(Power::Halt, None));
    assert_eq!(Config::parse(["", "panic=5", ""], DEBUG, false).0.common.on_error, OnError::Shell);
    assert_eq!(
        Config::parse(["", "panic=5 rd.onerror=reboot", ""], DEBUG, false).0.common.on_error,
        OnError::End(Power::Reboot, None)
    );
}

#[test]
fn a_policy_that_restarts_outlives_init() {
    for (baked, kernel, wanted) in [
        ("", "rd.onerror=reboot:30", Some(30)),
        ("", "rd.onerror=reboot", Some(5)),
        ("panic=7", "", Some(7)),
        ("", "panic=7", None),
        ("", "rd.onerror=reboot panic=0", None),
        ("", "rd.onerror=poweroff", None),
        ("", "", None),
    ] {
        let abilities = Abilities { shell: false, trust: false };
        let config = Config::parse([baked, kernel, ""], abilities, false).0;
        assert_eq!(config.common.panic, wanted, "{baked} {kernel}");
    }
}

#[test]
fn breakpoints() {
    let breaks = |line| Config::parse(["", line, ""], DEBUG, false).0.common.breaks;
    assert_eq!(breaks("rd.break=overlay,switch-root"), [Step::Overlay, Step::SwitchRoot]);
    assert_eq!(breaks("rd.break"), [Step::SwitchRoot]);
    assert!(breaks("rd.break=none").is_empty());
    let (config, _) = Config::parse(["", "rd.break=everything,api", ""], DEBUG, false);
    assert!(config.common.breaks.is_empty());
    assert_eq!(config.warnings.len(), 2);
}

#[test]
fn baked_arguments_go_to_init() {
    let (config, _) = Config::parse(["quiet single rd.timeout=1 a=b -- -x rd.img=no", "5 -- -y", ""], STANDARD, false);
    assert_eq!(config.common.init_args, ["single", "-x", "rd.img=no"]);
}

#[test]
fn a_root_in_memory_is_told_what_to_run() {
    let parsed = |line| Config::parse(["", line, ""], STANDARD, true).0;
    let config = parsed("rd.net=dhcp rd.verify init=/bin/x splash -- a \"b c\"");
    assert!(ram(&config).net == Some(true) && ram(&config).verify && config.warnings.is_empty());
    assert_eq!(
        (ram(&config).init.as_deref(), ram(&config).arguments),
        (Some("/bin/x"), vec!["a".into(), "b c".into()])
    );
    let config = parsed("rd.net=dhcp rd.net=no rd.verify rd.verify=no");
    assert!(ram(&config).net == Some(false) && !ram(&config).verify && ram(&config).init.is_none());
    assert_eq!(parsed("rd.net=static").warnings, ["parameter rd.net=static: wanted dhcp or no; the default holds"]);
}

#[test]
fn a_file_on_boot_stands_between_the_kernels_line_and_the_last_one() {
    let read = |kernel: &str, file: &str, chosen: &str, last: &str, abilities| {
        Config::parse_lines(&Lines { baked: "", kernel, file, chosen, last }, abilities, false).0
    };
    let image = |config: &Config| config.mode.overlay().unwrap().image.clone();
    let free = read("rd.image=a rd.timeout=1s", "rd.image=b single -- x", "", "", STANDARD);
    assert_eq!((image(&free).as_str(), free.warnings.len()), ("b", 0));
    assert_eq!(free.common.init_args, ["single", "x"]);
    assert_eq!(image(&read("rd.image=a", "rd.image=b", "rd.image=c", "", STANDARD)), "c");
    let signed = Abilities { trust: true, ..DEBUG };
    let harmless = "rd.timeout=7s rd.onerror=reboot:3 rd.led=x rd.watchdog=60s rd.blackbox=no rd.debug";
    let others =
        "rd.image=b rd.img=LABEL=b rd.persistent=no rd.toram=no rd.recover rd.break=image init=/b b ext4.a=1 -- c";
    for (last, abilities) in [("", signed), ("rd.led=y", STANDARD)] {
        let config = read("rd.image=a", &[harmless, others].join(" "), "", last, abilities);
        let common = &config.common;
        assert_eq!((common.timeout, common.watchdog), (Duration::from_secs(7), Some(60)), "{last}");
        assert_eq!(common.on_error, OnError::End(Power::Reboot, Some(Duration::from_secs(3))), "{last}");
        assert!(common.debug && !common.blackbox, "{last}");
        assert_eq!(common.led.as_deref(), Some(if last.is_empty() { "x" } else { "y" }));
        let ignored = config.warnings.iter().find(|line| line.starts_with("ignored, ")).unwrap();
        assert!(ignored.ends_with(&[": ", others].concat()), "{ignored}");
        let plain = read("rd.image=a", harmless, "", last, abilities);
        assert_eq!((&plain.mode, &plain.common), (&config.mode, common), "{last}");
    }
    for word in ["rd.blackbox=yes", "rd.blackbox", "rd.blackbox=off"] {
        assert!(!read("rd.blackbox=no", word, "", "", signed).common.blackbox, "{word}");
    }
    assert!(read("rd.blackbox=no", "rd.blackbox=yes", "", "", STANDARD).common.blackbox);
    for shell in ["rd.onerror=shell", "rd.onerror=shell:1"] {
        let config = read("rd.onerror=halt", shell, "", "", signed);
        assert_eq!(config.common.on_error, OnError::End(Power::Halt, None), "{shell}");
    }
}
