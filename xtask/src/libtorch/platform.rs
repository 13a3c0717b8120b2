//! Which wheels hold libtorch for which machine.

use std::env::consts;
use std::fmt::{self, Display};

use anyhow::{Result, bail};

use super::VERSION;

/// The Python whose wheels are taken. Their libtorch is the same for every Python; one is
/// named so that the files are the same everywhere.
pub const PYTHON_VERSION: &str = "3.11";
/// The same, as wheel names spell it.
pub const PYTHON_TAG: &str = "cp311";

/// `libcudart.so.13` and `libcupti.so.13`: the Linux builds of libtorch_cpu link them, though
/// a CPU calls nothing in them. The versions are those that torch itself requires.
const CUDA_RUNTIME_VERSION: &str = "13.0.96";
const CUPTI_VERSION: &str = "13.0.85";

/// One file to download.
#[derive(Debug)]
pub struct Wheel {
    /// Name on the package index.
    pub project: &'static str,
    pub version: &'static str,
    /// The exact file.
    pub file: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 digest, in hexadecimal.
    pub sha256: &'static str,
}

/// A kind of machine that PyTorch is built for.
#[derive(Debug)]
pub struct Platform {
    /// As `std::env::consts` says it.
    pub os: &'static str,
    pub architecture: &'static str,
    /// What pip calls the platforms of these wheels.
    pub pip_platforms: &'static [&'static str],
    /// How the platform in a wheel's name begins and ends.
    pub wheel_platform: (&'static str, &'static str),
    /// Libraries to take along whether or not another one needs them.
    pub libraries: &'static [&'static str],
    pub wheels: &'static [Wheel],
}

const LINUX_LIBRARIES: &[&str] = &["libtorch_cpu.so", "libc10.so"];

/// The machines with wheels.
pub const PLATFORMS: &[Platform] = &[
    Platform {
        os: "linux",
        architecture: "x86_64",
        pip_platforms: &["manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux_2_17_x86_64"],
        wheel_platform: ("manylinux", "x86_64"),
        libraries: LINUX_LIBRARIES,
        wheels: &[
            Wheel {
                project: "torch",
                version: VERSION,
                file: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
                bytes: 530_604_548,
                sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
            },
            Wheel {
                project: "nvidia-cuda-runtime",
                version: CUDA_RUNTIME_VERSION,
                file: "nvidia_cuda_runtime-13.0.96-py3-none-\
                       manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
                bytes: 2_243_632,
                sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            },
            Wheel {
                project: "nvidia-cuda-cupti",
                version: CUPTI_VERSION,
                file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
                bytes: 10_715_597,
                sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            },
        ],
    },
    Platform {
        os: "linux",
        architecture: "aarch64",
        pip_platforms: &[
            "manylinux_2_28_aarch64",
            "manylinux_2_25_aarch64",
            "manylinux_2_17_aarch64",
        ],
        wheel_platform: ("manylinux", "aarch64"),
        libraries: LINUX_LIBRARIES,
        wheels: &[
            Wheel {
                project: "torch",
                version: VERSION,
                file: "torch-2.11.0-cp311-cp311-manylinux_2_28_aarch64.whl",
                bytes: 419_718_178,
                sha256: "d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6",
            },
            Wheel {
                project: "nvidia-cuda-runtime",
                version: CUDA_RUNTIME_VERSION,
                file: "nvidia_cuda_runtime-13.0.96-py3-none-\
                       manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
                bytes: 2_261_060,
                sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
            },
            Wheel {
                project: "nvidia-cuda-cupti",
                version: CUPTI_VERSION,
                file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_aarch64.whl",
                bytes: 10_310_827,
                sha256: "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
            },
        ],
    },
    Platform {
        os: "macos",
        architecture: "aarch64",
        pip_platforms: &["macosx_11_0_arm64"],
        wheel_platform: ("macosx", "arm64"),
        libraries: &["libtorch.dylib", "libtorch_cpu.dylib", "libc10.dylib", "libomp.dylib"],
        wheels: &[Wheel {
            project: "torch",
            version: VERSION,
            file: "torch-2.11.0-cp311-cp311-macosx_11_0_arm64.whl",
            bytes: 80_529_712,
            sha256: "7b6a60d48062809f58595509c524b88e6ddec3ebe25833d6462eeab81e5f2ce4",
        }],
    },
];

impl Platform {
    /// The machine that this program runs on.
    pub fn here() -> Result<&'static Self> {
        if cfg!(target_env = "musl") {
            bail!(
                "PyTorch publishes no build for musl (Alpine Linux). Build on a distribution \
                 with glibc, or set LIBTORCH to a libtorch {VERSION} of your own."
            );
        }
        Self::of(consts::OS, consts::ARCH)
    }

    fn of(os: &str, architecture: &str) -> Result<&'static Self> {
        let found = PLATFORMS.iter().find(|it| it.os == os && it.architecture == architecture);
        let Some(found) = found else {
            let known: Vec<_> = PLATFORMS.iter().map(ToString::to_string).collect();
            bail!(
                "PyTorch {VERSION} has no wheel for {os} on {architecture} (there are: {}). Set \
                 LIBTORCH to a libtorch {VERSION} of your own.",
                known.join(", ")
            );
        };
        Ok(found)
    }

    /// Whether this machine can use a wheel with such a file name, be it for another Python
    /// or a variant of the same version (`2.11.0+cpu`).
    pub fn accepts(&self, wheel: &Wheel, file_name: &str) -> bool {
        let Some(stem) = file_name.strip_suffix(".whl") else { return false };
        let parts: Vec<_> = stem.split('-').collect();
        let [project, version, .., platform] = parts.as_slice() else { return false };
        let (begin, end) = self.wheel_platform;
        *project == wheel.project.replace('-', "_")
            && version.split('+').next() == Some(wheel.version)
            && platform.starts_with(begin)
            && platform.ends_with(end)
    }
}

impl Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_accepts_its_own_wheels_and_no_others() {
        for platform in PLATFORMS {
            for (other, wheel) in
                PLATFORMS.iter().flat_map(|it| it.wheels.iter().map(move |wheel| (it, wheel)))
            {
                let is_own = std::ptr::eq(platform, other);
                assert_eq!(platform.accepts(wheel, wheel.file), is_own, "{platform} {wheel:?}");
            }
        }
    }

    #[test]
    fn pinned_files_are_of_the_pinned_versions() {
        for wheel in PLATFORMS.iter().flat_map(|platform| platform.wheels) {
            let start = format!("{}-{}-", wheel.project.replace('-', "_"), wheel.version);
            assert!(wheel.file.starts_with(&start), "{wheel:?}");
            assert!(wheel.sha256.len() == 64 && wheel.bytes > 0, "{wheel:?}");
        }
        let torch = PLATFORMS.iter().map(|platform| &platform.wheels[0]);
        assert!(torch.into_iter().all(|wheel| wheel.file.contains(PYTHON_TAG)));
    }

    #[test]
    fn the_wheels_follow_the_machine() {
        let linux = Platform::of("linux", "aarch64").unwrap();
        assert!(linux.wheels.iter().any(|wheel| wheel.project == "nvidia-cuda-cupti"));
        let mac = Platform::of("macos", "aarch64").unwrap();
        assert!(mac.wheels.iter().all(|wheel| wheel.project == "torch"));
        let error = Platform::of("macos", "x86_64").unwrap_err().to_string();
        assert!(error.contains("macos on x86_64") && error.contains("LIBTORCH"), "{error}");
    }

    #[test]
    fn another_python_and_a_local_version_will_do_but_not_another_version() {
        let platform = Platform::of("linux", "x86_64").unwrap();
        let torch = &platform.wheels[0];
        let accepts = |name: &str| platform.accepts(torch, name);
        assert!(accepts("torch-2.11.0-cp313-cp313t-manylinux_2_28_x86_64.whl"));
        assert!(accepts("torch-2.11.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"));
        assert!(!accepts("torch-2.11.1-cp311-cp311-manylinux_2_28_x86_64.whl"));
        assert!(!accepts("torch-2.11.0-cp311-cp311-win_amd64.whl"));
        assert!(!accepts("torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl.part"));
        assert!(!accepts("torch.whl"));
    }
}
