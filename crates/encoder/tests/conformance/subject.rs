//! One attention layer under a position scheme, on the host: what a golden file says and a planted error changes.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Form, Pass, Position, PositionScheme};
use locus_encoder::{Attention, BlockPass, LayerCache, Linear, StackConfig};
use locus_testkit::Golden;

use crate::Row;

/// The two sets of positions of every golden file: counting in ones, and with gaps.
pub(crate) const CASES: [&str; 2] = ["padded", "holes"];

/// The inputs beside the scheme's parameters.
const INPUTS: [&str; 9] = [
    "x",
    "q_proj.weight",
    "q_proj.bias",
    "k_proj.weight",
    "k_proj.bias",
    "v_proj.weight",
    "v_proj.bias",
    "o_proj.weight",
    "o_proj.bias",
];

/// A tensor on the host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Host {
    fn tensor<B: Backend, const D: usize>(&self, device: &B::Device) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(self.values.clone(), self.shape.clone()), device)
    }
}

/// Everything that decides the output.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) config: StackConfig,
    pub(crate) form: Form,
    pub(crate) tokens: Tokens,
    /// Inputs and parameters by name.
    pub(crate) tensors: BTreeMap<String, Host>,
    direction: Host,
    embed_direction: Host,
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) embedded: Vec<f32>,
    /// With zeros at padding.
    pub(crate) out: Vec<f32>,
    /// `<direction, out> + <embed_direction, embedded>`.
    pub(crate) functional: f64,
    /// Its gradients by name; none for what is frozen.
    pub(crate) grads: BTreeMap<String, Vec<f32>>,
}

pub(crate) fn golden(name: &str) -> Golden {
    Golden::read(format!("{}/tests/golden/positions-{name}.safetensors", env!("CARGO_MANIFEST_DIR")))
}

impl Subject {
    pub(crate) fn new(row: &Row, golden: &Golden, case: &str) -> Self {
        let host =
            |name: &str| Host { shape: golden.shape(name).to_vec(), values: golden.values(name).to_vec() };
        let keep = host("keep");
        let (batch, seq) = (keep.shape[0], keep.shape[1]);
        let kept: Vec<bool> = keep.values.iter().map(|&keep| keep != 0.0).collect();
        let mut tokens = Tokens::new([batch, seq], vec![0; batch * seq], kept, None).unwrap();
        tokens.positions =
            golden.values(&format!("{case}.positions")).iter().map(|&p| f64::from(p)).collect();
        let ids = format!("{case}.ids");
        if golden.has(&ids) {
            tokens.ids = golden.values(&ids).iter().map(|&id| id as u32).collect();
        }
        let axes = format!("{case}.axes");
        if golden.has(&axes) {
            let places = golden.values(&axes).iter().map(|&p| f64::from(p)).collect::<Vec<_>>();
            tokens.axes = places.chunks(batch * seq).map(<[f64]>::to_vec).collect();
        }
        if golden.has("segments") {
            tokens.segments = Some(golden.values("segments").iter().map(|&id| id as u32).collect());
        }
        let params = golden.names().filter(|name| name.starts_with("position."));
        Self {
            config: StackConfig { dropout: 0.0, attention_dropout: 0.0, ..row.config() },
            form: row.form,
            tokens,
            tensors: INPUTS.into_iter().chain(params).map(|name| (name.to_owned(), host(name))).collect(),
            direction: host(&format!("{case}.direction")),
            embed_direction: host(&format!("{case}.embed_direction")),
        }
    }

    /// Runs the columns in these chunks, through a cache if there is more than one.
    pub(crate) fn run<B: AutodiffBackend>(&self, chunks: &[usize], device: &B::Device) -> Outcome {
        let x: Tensor<B, 3> = self.tensors["x"].tensor(device).require_grad();
        let attention = self.attention::<B>(device);
        let position = self.config.position.init(&self.config.position_shape(self.form), Key::new(3), device);
        let position = self.fill(position, device);
        let mut tokens = self.tokens.clone();
        position.scheme().number(&mut tokens, None, None);
        let mut cache = (chunks.len() > 1).then(LayerCache::default);
        let (mut embedded, mut out, mut start) = (Vec::new(), Vec::new(), 0);
        for &len in chunks {
            let chunk = x.clone().narrow(1, start, len); // [batch, len, width]
            let (e, o) = self.step(chunk, start, &tokens, &attention, &position, cache.as_mut());
            embedded.push(e);
            out.push(o);
            start += len;
        }
        let (embedded, out) = (Tensor::cat(embedded, 1), Tensor::cat(out, 1)); // [batch, seq, d_model]
        let functional = (out.clone() * self.direction.tensor(device)).sum()
            + (embedded.clone() * self.embed_direction.tensor(device)).sum();
        let grads = functional.backward();
        let host = |tensor: Tensor<B::InnerBackend, 2>| tensor.to_data().iter::<f32>().collect::<Vec<_>>();
        let flat = |tensor: Tensor<B::InnerBackend, 1>| host(tensor.unsqueeze());
        let mut by_name = BTreeMap::new();
        if let Some(grad) = x.grad(&grads) {
            by_name.insert("x".to_owned(), host(grad.flatten(0, 1)));
        }
        let Attention { q_proj, k_proj, v_proj, o_proj, .. } = &attention;
        for (name, linear) in [("q", q_proj), ("k", k_proj), ("v", v_proj), ("o", o_proj)] {
            let bias = linear.bias.as_ref().and_then(|bias| bias.grad(&grads)).map(flat);
            let weight = linear.weight.grad(&grads).map(host);
            by_name.extend(weight.map(|grad| (format!("{name}_proj.weight"), grad)));
            by_name.extend(bias.map(|grad| (format!("{name}_proj.bias"), grad)));
        }
        let mut of_scheme = Gradients { path: ParamPath::default(), grads: &grads, found: &mut by_name };
        position.visit(&mut of_scheme);
        self.outcome(embedded, out, by_name)
    }

    fn outcome<B: Backend>(
        &self,
        embedded: Tensor<B, 3>,
        out: Tensor<B, 3>,
        grads: BTreeMap<String, Vec<f32>>,
    ) -> Outcome {
        let [_, _, d_model] = out.dims();
        let host = |tensor: Tensor<B, 3>| tensor.to_data().iter::<f32>().collect::<Vec<_>>();
        let (embedded, mut out) = (host(embedded), host(out));
        // Queries that are padding have no meaning.
        for (token, _) in self.tokens.keep.iter().enumerate().filter(|(_, keep)| !**keep) {
            out[token * d_model..(token + 1) * d_model].fill(0.0);
        }
        let dot = |a: &[f32], b: &Host| -> f64 {
            a.iter().zip(&b.values).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let functional = dot(&out, &self.direction) + dot(&embedded, &self.embed_direction);
        Outcome { embedded, out, functional, grads }
    }

    fn step<B: Backend>(
        &self,
        x: Tensor<B, 3>,
        start: usize,
        tokens: &Tokens,
        attention: &Attention<B>,
        position: &Position<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let ([_, len, _], device) = (x.dims(), x.device());
        let columns: Vec<usize> = (0..start + len).collect();
        let (queries, keys) = (tokens.columns(&columns[start..]), tokens.columns(&columns));
        let pass =
            Pass { queries: &queries, keys: &keys, form: self.form, longest_seen: keys.seq, key: None };
        let spec = MaskSpec { visible: position.scheme().visible(&pass), ..pass.mask() };
        let scheme = position.scheme();
        let embedded = scheme.embed(x, &queries);
        let at = BlockPass {
            scheme,
            pass: &pass,
            prepared: &scheme.prepare(&pass, &device),
            mask: &AttentionMask::new(spec, &device),
            memory: None,
            layer: 0,
            key: None,
        };
        let out = attention.forward(embedded.clone(), &at, cache);
        (embedded, out)
    }

    fn attention<B: Backend>(&self, device: &B::Device) -> Attention<B> {
        let linear = |name: &str| Linear {
            weight: param(self.tensors[&format!("{name}.weight")].tensor(device)),
            bias: Some(param(self.tensors[&format!("{name}.bias")].tensor(device))),
            bf16: false,
            packed: None,
            adapters: Vec::new(),
        };
        let mut attention = Attention::new(&self.config, 1, 1.0, Key::new(0), device);
        attention.q_proj = linear("q_proj");
        attention.k_proj = linear("k_proj");
        attention.v_proj = linear("v_proj");
        attention.o_proj = linear("o_proj");
        attention
    }

    /// Puts the parameters of the file into the scheme; what it froze stays frozen.
    fn fill<B: Backend>(&self, position: Position<B>, device: &B::Device) -> Position<B> {
        position.map(&mut Fill { path: ParamPath::default(), tensors: &self.tensors, device })
    }
}

fn param<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Param<Tensor<B, D>> {
    Param::initialized(ParamId::new(), tensor.require_grad())
}

/// The name of a parameter of a scheme in golden files.
fn golden_name(path: &ParamPath) -> String {
    format!("position.{}", path.name())
}

/// Replaces parameters by those of a golden file.
struct Fill<'a, B: Backend> {
    path: ParamPath,
    tensors: &'a BTreeMap<String, Host>,
    device: &'a B::Device,
}

impl<B: Backend> ModuleMapper<B> for Fill<'_, B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = golden_name(&self.path);
        let host = self.tensors.get(&name).unwrap_or_else(|| panic!("no {name} in the golden file"));
        let trained = param.is_require_grad();
        Param::initialized(ParamId::new(), host.tensor(self.device).set_require_grad(trained))
    }
}

/// Collects the gradients of parameters.
struct Gradients<'a, B: AutodiffBackend> {
    path: ParamPath,
    grads: &'a B::Gradients,
    found: &'a mut BTreeMap<String, Vec<f32>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.grad(self.grads) {
            self.found.insert(golden_name(&self.path), grad.to_data().iter::<f32>().collect());
        }
    }
}

/// Whether each parameter of a scheme is trained.
pub(crate) fn trained_params<B: Backend>(position: &Position<B>) -> Vec<bool> {
    struct Trained(Vec<bool>);

    impl<B: Backend> ModuleVisitor<B> for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0.push(param.is_require_grad());
        }
    }

    let mut trained = Trained(Vec::new());
    position.visit(&mut trained);
    trained.0
}
