//! What runs beside process 1 for as long as the machine does: drivers for devices that come late, and addresses for network
//! interfaces, each while there is somebody at its other end. It waits for what the kernel says and does nothing meanwhile. How
//! addresses are asked for and set is udhcpc's business and its script's; what is to be done when, [`crate::network`] decides.

use std::time::Duration;

use crate::{
    config::{Abilities, Config},
    kernel::{Happening, Kernel, Level, Program, Setting},
    modules::Modules,
    names,
    network::{Act, Watch},
    workload::{self, Identity},
};

/// What asks for addresses.
struct Network<'a> {
    busybox: &'a str,
    script: &'a str,
    hostname: String,
}

/// Attends to the machine. `arguments` are a BusyBox and the script that its udhcpc calls; without them, or with `rd.net=no`, networks
/// are left alone. Comes back where nothing can be heard any more.
pub fn run(kernel: &mut dyn Kernel, arguments: &[String]) {
    // Nobody starts it again. Where memory runs out the kernel ends other programs (kernel, Documentation/filesystems/proc.rst, 3.1).
    let _ = kernel.write("/proc/self/oom_score_adj", b"-1000");
    let baked = text(kernel, names::BAKED_CMDLINE);
    let given = text(kernel, "/proc/cmdline");
    let last = text(kernel, names::FINAL_CMDLINE);
    let (config, _) = Config::parse_final(&baked, &given, &last, Abilities { shell: false, trust: false });
    let network = match arguments {
        [busybox, script, ..] if config.net != Some(false) => {
            Some(Network { busybox, script, hostname: text(kernel, "/proc/sys/kernel/hostname").trim().into() })
        }
        _ => None,
    };
    if let Err(error) = kernel.watch(network.is_some()) {
        kernel.log(Level::Warning, &format!("devices that come late are not seen: {error}"));
        return;
    }
    let mut modules = Modules::open(kernel);
    let mut watch = Watch::default();
    // Some may have come between process 1's look and now.
    let mut look = true;
    loop {
        let now = kernel.now();
        while let (Some(network), Some(act)) = (&network, watch.next(now)) {
            network.act(kernel, &mut watch, act);
        }
        let deadline = if look { Some(Duration::ZERO) } else { watch.due() };
        let happenings = match kernel.next_happenings(deadline) {
            Ok(happenings) => happenings,
            Err(error) => {
                kernel.log(Level::Warning, &format!("devices that come late are seen no more: {error}"));
                return;
            }
        };
        // Addresses first: drivers take long to load.
        if look && happenings.is_empty() {
            look = false;
            modules.coldplug(kernel, &[]);
        }
        for happening in happenings {
            match happening {
                Happening::Device => look = true,
                Happening::Link(change) => watch.see(change),
                Happening::Ended(process) => watch.ended(process, kernel.now()),
            }
        }
    }
}

fn text(kernel: &mut dyn Kernel, path: &str) -> String {
    kernel.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

impl Network<'_> {
    fn act(&self, kernel: &mut dyn Kernel, watch: &mut Watch, act: Act) {
        let (index, program) = match act {
            Act::BringUp(name) => {
                if let Err(error) = kernel.link_up(&name) {
                    kernel.log(Level::Warning, &format!("the network interface {name} is not up: {error}"));
                }
                return;
            }
            Act::Stop(process) => return kernel.stop(process),
            Act::Ask(index, name) => (index, self.client(&name)),
            Act::Clear(index, name) => {
                (index, program(self.script, self.script, &["gone"], &[&["interface=", &name].concat()]))
            }
        };
        let started = kernel.start(&program, "/dev/null");
        if let Err(error) = &started {
            kernel.log(Level::Warning, &format!("{} would not start: {error}", program.path));
        }
        watch.started(index, started.ok(), kernel.now());
    }

    /// udhcpc for an interface: five questions a second apart, then a pause of five, again and again; and it stays.
    fn client(&self, name: &str) -> Program {
        let mut words = vec!["-f", "-S", "-i", name, "-s", self.script];
        words.extend(["-t", "5", "-T", "1", "-A", "5", "-O", "search", "-O", "staticroutes", "-O", "mtu"]);
        let told = ["hostname:", &self.hostname].concat();
        // That is what the kernel says where nobody has named the machine.
        if !matches!(self.hostname.as_str(), "" | "(none)") {
            words.extend(["-x", &told]);
        }
        // BusyBox goes by the name that it is called by, and so do people who look for it.
        program(self.busybox, "udhcpc", &words, &[])
    }
}

fn program(path: &str, name: &str, arguments: &[&str], environment: &[&str]) -> Program {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).into()).collect::<Vec<String>>();
    let mut environment = strings(environment);
    environment.push(["PATH=", workload::PATH].concat());
    let setting =
        Setting { name: name.into(), environment, directory: "/".into(), identity: Identity::default(), stop: 0 };
    Program { path: path.into(), arguments: strings(arguments), setting: Some(setting) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::recorder::{Node, Recorder},
        network::{Change, Link},
    };

    fn link(is_up: bool, has_carrier: bool) -> Happening {
        Happening::Link(Change::Link(Link { index: 2, name: "eth0".into(), is_card: true, is_up, has_carrier }))
    }

    fn recorder(cmdline: &str) -> Recorder {
        let index = "usb_nic nic.ko alias=usb:v1*\n";
        Recorder {
            release: "6.1".into(),
            processors: 1,
            modaliases: vec!["usb:v1p2".into()],
            files: [
                ("proc/cmdline".into(), Node::file(cmdline, 0o444)),
                ("proc/sys/kernel/hostname".into(), Node::file("box\n", 0o644)),
                (format!("lib/modules/6.1/{}", crate::modules::index::FILE_NAME), Node::file(index, 0o644)),
                ("lib/modules/6.1/nic.ko".into(), Node::file("", 0o644)),
            ]
            .into(),
            ..Recorder::default()
        }
    }

    fn run_with(mut recorder: Recorder, arguments: &[&str], happenings: Vec<Vec<Happening>>) -> String {
        recorder.happenings = happenings.into();
        run(&mut recorder, &arguments.iter().map(|word| (*word).to_string()).collect::<Vec<_>>());
        recorder.record.join("\n")
    }

    const NETWORK: [&str; 2] = ["/bin/busybox", "/script"];

    #[test]
    fn an_interface_is_asked_and_cleared() {
        let happenings = vec![
            vec![link(false, false)],
            vec![link(true, true)],
            vec![],
            vec![link(true, false)],
            vec![Happening::Ended(7), Happening::Ended(1)],
            vec![Happening::Ended(2), link(true, true)],
        ];
        let asks =
            "/bin/busybox -f -S -i eth0 -s /script -t 5 -T 1 -A 5 -O search -O staticroutes -O mtu -x hostname:box";
        let wanted = format!(
            "write /proc/self/oom_score_adj\nwatch devices and networks\nup eth0\nstart {asks}\nload /lib/modules/6.1/nic.ko\nstop 1\nstart /script gone\nstart {asks}\n\
             warning: devices that come late are seen no more: entity not found"
        );
        assert_eq!(run_with(recorder(""), &NETWORK, happenings), wanted);
    }

    #[test]
    fn networks_are_left_alone_where_nobody_is_to_ask() {
        for (cmdline, arguments) in [("rd.net=no", &NETWORK[..]), ("", &[]), ("", &["/bin/busybox"])] {
            let record = run_with(recorder(cmdline), arguments, vec![vec![], vec![Happening::Device], vec![]]);
            let wanted = "write /proc/self/oom_score_adj\nwatch devices\nload /lib/modules/6.1/nic.ko\nwarning: devices that come late are seen no more";
            assert!(record.starts_with(wanted), "{record}");
        }
    }
}
