//! Shapes of an SVG picture.

use std::fmt::Write;

/// Shapes in the order in which they are painted.
#[derive(Default)]
pub struct Canvas {
    body: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn middle(&self) -> f64 {
        self.x + self.width / 2.0
    }
    pub fn right(&self) -> f64 {
        self.x + self.width
    }
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
    pub fn across(&self) -> f64 {
        self.y + self.height / 2.0
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Anchor {
    Start,
    Middle,
}

impl Canvas {
    /// A rectangle of a class of the style sheet; `title` is shown by viewers when pointed at.
    pub fn rect(&mut self, class: &str, at: Rect, title: &str) {
        let Rect { x, y, width, height } = at;
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3">{title}</rect>"#
        );
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64), width: f64, title: &str) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke-width="{width:.1}"><title>{}</title></line>"#,
            from.0,
            from.1,
            to.0,
            to.1,
            escaped(title)
        );
    }

    /// A curve from one point to another that bends down by `depth`.
    pub fn bow(&mut self, class: &str, from: (f64, f64), to: (f64, f64), depth: f64, title: &str) {
        let _ = writeln!(
            self.body,
            r#"<path class="{class}" d="M {:.1} {:.1} C {:.1} {:.1}, {:.1} {:.1}, {:.1} {:.1}"><title>{}</title></path>"#,
            from.0,
            from.1,
            from.0,
            from.1 + depth,
            to.0,
            to.1 + depth,
            to.0,
            to.1,
            escaped(title)
        );
    }

    pub fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
        };
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escaped(text)
        );
    }

    /// The picture.
    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}">"#,
                "\n<style>{style}</style>\n",
                r##"<rect width="100%" height="100%" fill="#ffffff"/>"##,
                "\n{body}</svg>\n"
            ),
            width = width,
            height = height,
            style = STYLE,
            body = self.body
        )
    }
}

const STYLE: &str = "
text { font-family: Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #222222; font-size: 13px }
.title { font-size: 20px; font-weight: bold }
.head { font-size: 15px; font-weight: bold }
.small { font-size: 10px }
.note { fill: #555555 }
.inverse { fill: #ffffff }
.unit { fill: #f7f7f5; stroke: #777777 }
.behind { fill: #ecece8; stroke: #999999 }
.host { fill: #ffffff; stroke: #c4c4bd }
.gpu { fill: #2f6f4f }
.gone { fill: none; stroke: #b03030; stroke-dasharray: 3 2 }
.nic { fill: #c9742b }
.switch { fill: #3b5b92 }
.network { fill: #7a4a1f }
.nvlink { stroke: #3b5b92; fill: none }
.hostlink { stroke: #888888; fill: none }
.niclink { stroke: #c9742b; fill: none }
.netlink { stroke: #7a4a1f; fill: none }
.slow { stroke: #d02020; fill: none }
rect.slow { fill: #d02020 }
";

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no place for other control characters.
            c if c.is_control() || ['\u{FFFE}', '\u{FFFF}'].contains(&c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
