//! The process beside PID 1 that lives as long as the machine does: drivers for devices that come late, and addresses for network
//! interfaces, each while there is somebody at its other end. It polls the kernel's events and does nothing meanwhile. udhcpc and its
//! script ask for addresses and set them; the module `network` decides when.

use std::time::Duration;

use contract::{
    names,
    workload::{self, SIGTERM},
};

use super::{
    interfaces,
    network::{Act, Watch},
};
use crate::{
    config::{Abilities, Config, ModeConfig},
    kernel::{
        Event, Level, Machine, Sources, Uevent, read_text,
        supervisor::{Identity, Program, SIGCONT, Setting},
    },
    modules::Modules,
};

/// The DHCP client.
struct Network<'a> {
    busybox: &'a str,
    script: &'a str,
    hostname: String,
}

/// Attends to the machine. `arguments` are a BusyBox and the script that its udhcpc calls; without them, or with `rd.net=no`, networks
/// are left alone. Returns once the event sources are closed.
pub fn run(kernel: &mut dyn Machine, arguments: &[String]) {
    // Nobody starts it again. Where memory runs out the kernel ends other programs (kernel, Documentation/filesystems/proc.rst, 3.1).
    let _ = kernel.write("/proc/self/oom_score_adj", b"-1000");
    let baked = read_text(kernel, names::BAKED_CMDLINE);
    let given = read_text(kernel, "/proc/cmdline");
    let last = read_text(kernel, names::FINAL_CMDLINE);
    let (config, _) = Config::parse([&baked, &given, &last], Abilities { shell: false, trust: false }, true);
    let asks = !matches!(&config.mode, ModeConfig::Ram(own) if own.net == Some(false));
    let network = match arguments {
        [busybox, script, ..] if asks => {
            Some(Network { busybox, script, hostname: read_text(kernel, "/proc/sys/kernel/hostname").trim().into() })
        }
        _ => None,
    };
    if let Err(error) = kernel.listen(Sources::Hotplug { links: network.is_some() }) {
        kernel.log(Level::Warning, &format!("late devices are not seen: {error}"));
        return;
    }
    let mut modules = Modules::open(kernel, &config.common.modules);
    let mut watch = Watch::default();
    // Some may have come between process 1's look and now.
    let mut look = true;
    loop {
        let now = kernel.now();
        while let (Some(network), Some(act)) = (&network, watch.next(now)) {
            network.act(kernel, &mut watch, act);
        }
        let deadline = if look { Some(Duration::ZERO) } else { watch.due() };
        let events = match kernel.next_events(deadline) {
            Ok(events) => events,
            Err(error) => {
                kernel.log(Level::Warning, &format!("late devices are no longer seen: {error}"));
                return;
            }
        };
        // Addresses first: drivers take long to load.
        if look && events.is_empty() {
            look = false;
            modules.coldplug(kernel, &[]);
        }
        for event in events {
            match event {
                Event::Device(uevent) => look |= may_need_driver(&uevent),
                Event::Link(change) => watch.see(change),
                Event::Exited(process) => watch.ended(process, kernel.now()),
                Event::Childless | Event::Signal(_) => {}
            }
        }
    }
}

/// Returns true for a device that may want a driver. A change of a block device may stand for events that were lost.
fn may_need_driver(uevent: &Uevent) -> bool {
    match uevent.action.as_str() {
        "add" => uevent.modalias.is_some(),
        "change" => uevent.subsystem == "block",
        _ => false,
    }
}

/// Asks a process to end; one that is stopped has to go on for that.
fn stop(kernel: &mut dyn Machine, process: u32) {
    if let Ok(process) = i32::try_from(process) {
        kernel.signal(process, SIGTERM);
        kernel.signal(process, SIGCONT);
    }
}

impl Network<'_> {
    fn act(&self, kernel: &mut dyn Machine, watch: &mut Watch, act: Act) {
        let (index, program) = match act {
            Act::BringUp(name) => {
                if let Err(error) = interfaces::bring_up(kernel, &name) {
                    kernel.log(Level::Warning, &format!("the network interface {name} is not up: {error}"));
                }
                return;
            }
            Act::Stop(process) => return stop(kernel, process),
            Act::Ask(index, name) => (index, self.client(&name)),
            Act::Clear(index, name) => {
                (index, program(self.script, self.script, &["gone"], &[&["interface=", &name].concat()]))
            }
        };
        let started = kernel.start(&program, "/dev/null", false);
        if let Err(error) = &started {
            kernel.log(Level::Warning, &format!("{} would not start: {error}", program.path));
        }
        watch.started(index, started.ok(), kernel.now());
    }

    /// Returns udhcpc for an interface: five questions a second apart, then a pause of five, again and again; and it stays.
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
    use crate::kernel::{
        recorder::{Node, Recorder},
        rtnetlink::{Change, Link},
    };

    fn link(is_up: bool, has_carrier: bool) -> Event {
        Event::Link(Change::Link(Link { index: 2, name: "eth0".into(), is_card: true, is_up, has_carrier }))
    }

    fn recorder(cmdline: &str) -> Recorder {
        let index = "usb_nic nic.ko alias=usb:v1*\n";
        Recorder {
            release: "6.1".into(),
            processors: 1,
            files: [
                ("sys/bus/usb/devices/1/modalias".into(), Node::file("usb:v1p2", 0o444)),
                ("proc/cmdline".into(), Node::file(cmdline, 0o444)),
                ("proc/sys/kernel/hostname".into(), Node::file("box\n", 0o644)),
                (format!("lib/modules/6.1/{}", contract::module_index::FILE_NAME), Node::file(index, 0o644)),
                ("lib/modules/6.1/nic.ko".into(), Node::file("", 0o644)),
            ]
            .into(),
            ..Recorder::default()
        }
    }

    fn run_with(mut recorder: Recorder, arguments: &[&str], events: Vec<Vec<Event>>) -> String {
        recorder.events = events.into();
        run(&mut recorder, &arguments.iter().map(|word| (*word).to_string()).collect::<Vec<_>>());
        recorder.record.join("\n")
    }

    const NETWORK: [&str; 2] = ["/bin/busybox", "/script"];

    #[test]
    fn an_interface_is_asked_and_cleared() {
        let events = vec![
            vec![link(false, false)],
            vec![link(true, true)],
            vec![],
            vec![link(true, false)],
            vec![Event::Exited(7), Event::Exited(1)],
            vec![Event::Exited(2), link(true, true)],
        ];
        let asks =
            "/bin/busybox -f -S -i eth0 -s /script -t 5 -T 1 -A 5 -O search -O staticroutes -O mtu -x hostname:box";
        let wanted = format!(
            "write /proc/self/oom_score_adj\nwatch devices and networks\nup eth0\nstart {asks}\nload /lib/modules/6.1/nic.ko\nstop 1\nstart /script gone\nstart {asks}\n\
             warning: late devices are no longer seen: entity not found"
        );
        assert_eq!(run_with(recorder(""), &NETWORK, events), wanted);
    }

    #[test]
    fn networks_are_left_alone_where_nobody_is_to_ask() {
        for (cmdline, arguments) in [("rd.net=no", &NETWORK[..]), ("", &[]), ("", &["/bin/busybox"])] {
            let came = Uevent { action: "add".into(), modalias: Some("usb:v1p2".into()), ..Uevent::default() };
            let record = run_with(recorder(cmdline), arguments, vec![vec![], vec![Event::Device(came)], vec![]]);
            let wanted = "write /proc/self/oom_score_adj\nwatch devices\nload /lib/modules/6.1/nic.ko\nwarning: late devices are no longer seen";
            assert!(record.starts_with(wanted), "{record}");
        }
    }
}
