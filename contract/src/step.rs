//! The steps of a boot. They have the same names in the log, the report, `rd.break=` and the failure card.

/// A step of the boot. The steps are in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// `/dev`, `/proc`, `/sys` and `/run` are mounted, the parameters are read.
    Api,
    /// Modules baked into the image that this hardware asks for.
    Modules,
    /// The partitions are found.
    Devices,
    /// A delivered image is put in.
    Update,
    /// The image that boots is chosen.
    Choose,
    /// The image is whole.
    Verify,
    /// The image is copied to memory (`rd.toram`).
    ToRam,
    /// The image is mounted.
    Image,
    /// The root is mounted (virtiofs).
    Root,
    /// Other directories of the host are mounted (virtiofs).
    Mounts,
    /// `upper`, `work` and `persistent`.
    Layers,
    /// The layers become one root.
    Overlay,
    /// The root has an init that can be run.
    Check,
    /// The report is written.
    Report,
    /// The root is switched.
    SwitchRoot,
    /// The program runs (from memory).
    Run,
}

impl Step {
    /// All steps, in order.
    pub const ALL: &'static [Self] = &[
        Self::Api,
        Self::Modules,
        Self::Devices,
        Self::Update,
        Self::Choose,
        Self::Verify,
        Self::ToRam,
        Self::Image,
        Self::Root,
        Self::Mounts,
        Self::Layers,
        Self::Overlay,
        Self::Check,
        Self::Report,
        Self::SwitchRoot,
        Self::Run,
    ];

    /// Returns the name the user sees and writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Modules => "modules",
            Self::Devices => "devices",
            Self::Update => "update",
            Self::Choose => "choose",
            Self::Verify => "verify",
            Self::ToRam => "toram",
            Self::Image => "image",
            Self::Root => "root",
            Self::Mounts => "mounts",
            Self::Layers => "layers",
            Self::Overlay => "overlay",
            Self::Check => "check",
            Self::Report => "report",
            Self::SwitchRoot => "switch-root",
            Self::Run => "run",
        }
    }
}
