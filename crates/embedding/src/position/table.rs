//! The macro that turns the table of schemes into the two enums and everything that has an arm per scheme.

/// Makes [`PositionConfig`](super::PositionConfig) and [`Position`](super::Position).
///
/// A line is a variant, its name in configuration files, the type of its configuration and that of its scheme. The
/// configuration implements [`SchemeConfig`](super::config::SchemeConfig), whose one required method says what pages tell of
/// the scheme, and `Default`, and has
/// `init::<B>(&self, &PositionShape, Key, &B::Device)`, which makes the scheme. `None`, which has no configuration, is
/// written out.
macro_rules! schemes {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal: $config:ty => $scheme:ty;)+) => {
        /// A scheme and its parameters. A bare name means the scheme's defaults.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub enum PositionConfig {
            /// No positions.
            #[default]
            #[serde(rename = "none")]
            None,
            $($(#[$doc])+ #[serde(rename = $name)] $variant($config),)+
        }

        impl PositionConfig {
            /// The names of all schemes.
            pub const NAMES: [&'static str; 1 + [$($name),+].len()] = ["none", $($name),+];

            /// The scheme of this name with its defaults.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    "none" => Some(Self::None),
                    $($name => Some(Self::$variant(Default::default())),)+
                    _ => None,
                }
            }

            /// The name of the scheme.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// Makes the scheme. Check the configuration first.
            pub fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Position<B> {
                match self {
                    Self::None => Position::None(NoPosition {}),
                    $(Self::$variant(config) => Position::$variant(config.init::<B>(shape, key, device)),)+
                }
            }

            /// What the configuration says of itself; nothing for `none`.
            fn config(&self) -> Option<&dyn SchemeConfig> {
                match self {
                    Self::None => None,
                    $(Self::$variant(config) => Some(config),)+
                }
            }

            /// As [`Self::config`], to complete it.
            fn config_mut(&mut self) -> Option<&mut dyn SchemeConfig> {
                match self {
                    Self::None => None,
                    $(Self::$variant(config) => Some(config),)+
                }
            }

            /// Reads the parameters of the scheme of this name.
            fn read<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error> {
                match name {
                    "none" => map.next_value::<Empty>().map(|Empty {}| Self::None),
                    $($name => map.next_value().map(Self::$variant),)+
                    _ => Err(config::unknown(name)),
                }
            }
        }

        /// Any scheme of this crate.
        #[derive(Module, Debug)]
        pub enum Position<B: Backend> {
            /// No positions.
            None(NoPosition),
            $($(#[$doc])+ $variant($scheme),)+
        }

        impl<B: Backend> PositionScheme<B> for Position<B> {
            fn scheme(&self) -> &dyn Scheme<B> {
                match self {
                    Self::None(scheme) => scheme,
                    $(Self::$variant(scheme) => scheme,)+
                }
            }
        }
    };
}
