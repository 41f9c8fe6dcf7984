//! What a person sees: a bar on a terminal, lines elsewhere, both on standard error and from the same figures.
//!
//! burn-train's own renderer without a full screen prints no metric values, so this is another [`MetricsRenderer`].

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use burn_train::LearnerSummary;
use burn_train::metric::{MetricDefinition, MetricEntry, MetricId};
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleMode {
    /// A bar where standard error is a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Lines,
    /// Nothing.
    Quiet,
    /// burn-train's full screen, where standard output is a terminal.
    #[cfg(feature = "tui")]
    Tui,
}

/// The renderer.
pub(crate) struct Console {
    sink: Sink,
    log_every_steps: usize,
    /// Metrics in the order in which they first came, with what they last said.
    figures: Vec<(MetricId, String)>,
    score: Option<String>,
    first: Option<(usize, Instant)>,
}

enum Sink {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send + Sync>),
    Quiet,
}

impl Console {
    pub(crate) fn new(mode: ConsoleMode, log_every_steps: usize) -> Self {
        let sink = match mode {
            ConsoleMode::Auto if std::io::stderr().is_terminal() => Sink::Bar(bar()),
            ConsoleMode::Auto | ConsoleMode::Lines => Sink::Lines(Box::new(std::io::stderr())),
            _ => Sink::Quiet,
        };
        Self { sink, log_every_steps, figures: Vec::new(), score: None, first: None }
    }

    fn note(&mut self, entry: MetricEntry) {
        let text = entry.serialized_entry.formatted;
        match self.figures.iter_mut().find(|(id, _)| *id == entry.metric_id) {
            Some((_, last)) => *last = text,
            None => self.figures.push((entry.metric_id, text)),
        }
    }

    /// The figures of the last step and the last score.
    fn summary(&self) -> String {
        let figures = self.figures.iter().map(|(_, text)| text.as_str());
        figures.chain(self.score.as_deref().filter(|score| !score.is_empty())).collect::<Vec<_>>().join(" · ")
    }

    fn print(&mut self, text: &str) {
        match &mut self.sink {
            Sink::Bar(bar) => bar.println(text),
            // Nobody can be told that standard error is closed.
            Sink::Lines(out) => writeln!(out, "{text}").and_then(|()| out.flush()).unwrap_or_default(),
            Sink::Quiet => {}
        }
    }
}

impl MetricsRendererTraining for Console {
    fn update_train(&mut self, state: MetricState) {
        match state {
            MetricState::Generic(entry) | MetricState::Numeric(entry, _) => self.note(entry),
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        match state {
            MetricState::Generic(entry) => self.print(&entry.serialized_entry.formatted),
            MetricState::Numeric(entry, _) => self.score = Some(entry.serialized_entry.formatted),
        }
    }

    fn render_train(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        let Some(progress) = item.progress else { return };
        let (step, total) = (progress.items_processed, progress.items_total);
        let (first, start) = *self.first.get_or_insert((step, Instant::now()));
        let summary = self.summary();
        let epoch =
            format!("epoch {}/{}", item.global_progress.items_processed, item.global_progress.items_total);
        if let Sink::Bar(bar) = &self.sink {
            bar.set_position(step as u64);
            if bar.length() != Some(total as u64) {
                bar.set_length(total as u64);
                // Steps from before a resume say nothing about the speed now.
                bar.reset_eta();
            }
            bar.set_message(format!("{epoch} · {summary}"));
        } else if step == first || step == total || step.is_multiple_of(self.log_every_steps) {
            let rest = start.elapsed().as_secs_f64() / (step - first).max(1) as f64
                * total.saturating_sub(step) as f64;
            let eta = if step == first { "?".to_owned() } else { clock(rest) };
            self.print(&format!("step {step}/{total} · {epoch} · {summary} · eta {eta}"));
        }
    }

    fn render_valid(&mut self, _: TrainingProgress, _: Vec<ProgressType>) {}

    fn on_train_end(&mut self, _: Option<LearnerSummary>) -> Result<(), Box<dyn std::error::Error>> {
        if let Sink::Bar(bar) = &self.sink {
            bar.abandon();
        }
        Ok(())
    }
}

// Nothing is evaluated through burn-train's evaluator.
impl MetricsRendererEvaluation for Console {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}

    fn render_test(&mut self, _: EvaluationProgress, _: Vec<ProgressType>) {}
}

impl MetricsRenderer for Console {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _: MetricDefinition) {}
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} · {wide_msg} eta {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use burn::data::dataloader::Progress;
    use burn_train::metric::{NumericEntry, SerializedEntry};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn entry(name: &str, text: &str) -> MetricEntry {
        let id = MetricId::new(Arc::new(name.to_owned()));
        MetricEntry::new(id, SerializedEntry::new(text.to_owned(), String::new()))
    }

    #[test]
    fn lines_say_figures_score_and_table() {
        let out = Shared::default();
        let mut console = Console::new(ConsoleMode::Quiet, 2);
        console.sink = Sink::Lines(Box::new(out.clone()));
        for step in 1..=5 {
            for name in ["loss", "lr"] {
                let state =
                    MetricState::Numeric(entry(name, &format!("{name} {step}")), NumericEntry::Value(1.0));
                console.update_train(state);
            }
            let [progress, global_progress] = [Progress::new(step, 5), Progress::new(1, 3)];
            let item = TrainingProgress { progress: Some(progress), global_progress, iteration: Some(step) };
            console.render_train(item, vec![]);
            if step == 3 {
                console
                    .update_valid(MetricState::Numeric(entry("score", "F1 0.5"), NumericEntry::Value(0.5)));
                console.update_valid(MetricState::Generic(entry("evaluation", "a\nb")));
            }
        }
        let text = out.0.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        assert_eq!(
            text,
            "step 1/5 · epoch 1/3 · loss 1 · lr 1 · eta ?\n\
             step 2/5 · epoch 1/3 · loss 2 · lr 2 · eta 0:00:00\n\
             a\nb\n\
             step 4/5 · epoch 1/3 · loss 4 · lr 4 · F1 0.5 · eta 0:00:00\n\
             step 5/5 · epoch 1/3 · loss 5 · lr 5 · F1 0.5 · eta 0:00:00\n"
        );
    }
}
