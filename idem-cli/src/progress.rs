//! A progress bar.

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a bar on the error output, which shows nothing where that is not a terminal.
pub(crate) fn bar(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // The template stands here and is tested, so the default look is never needed.
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(what)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_can_be_read() {
        assert!(super::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}").is_ok());
    }
}
