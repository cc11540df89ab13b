//! `plot`: small SVGs of what `compare` and `growth` kept as lines of JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What to plot.
#[derive(clap::Args)]
pub struct Plot {
    /// File of JSON lines that `--out` made
    file: PathBuf,
    /// Folder for the SVGs
    #[arg(long, default_value = "docs/plots")]
    folder: PathBuf,
}

const WIDTH: f64 = 760.0;
const GREY: &str = "#8a8f98";
const BLUE: &str = "#2b6cb0";
/// What nobody who enciphers gets below.
const GREEN: &str = "#2f855a";
const LINES: [&str; 4] = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1"];

/// Writes all plots that there are figures for.
pub fn run(asked: &Plot) {
    let text = std::fs::read_to_string(&asked.file).expect("the file of JSON lines");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    std::fs::create_dir_all(&asked.folder).expect("a folder");
    for (operation, file) in [("PUT", "cpu-put.svg"), ("GET", "cpu-get.svg")] {
        let groups = [1, 16].map(|clients| {
            let bars = bars(&lines, operation, 64 << 20, clients, "cpu_s_per_gib");
            (format!("{operation} of 64 MiB, {clients} at once"), bars)
        });
        let title = format!("{operation}: CPU-seconds per GiB (less is better)");
        save(&asked.folder, file, bar_chart(&title, &groups));
    }
    let groups = ["PUT", "GET"].map(|operation| {
        let bars = bars(&lines, operation, 4096, 64, "us_per_request");
        (format!("{operation} of 4 KiB, 64 at once"), bars)
    });
    let title = "4 KiB: CPU microseconds per request (less is better)";
    save(&asked.folder, "cpu-4k.svg", bar_chart(title, &groups));
    let curve = |name: &str, what: &str, direction: Option<&str>, field: &str| {
        let mut points: Vec<(f64, f64)> = lines
            .iter()
            .filter(|line| line["kind"] == "growth" && line["what"] == what)
            .filter(|line| direction.is_none_or(|direction| line["direction"] == direction))
            .filter_map(|line| Some((line["x"].as_f64()?, line[field].as_f64()?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (name.to_owned(), points)
    };
    let plots = [
        (
            "growth-streams.svg",
            "Peak resident MiB by streams side by side",
            vec![
                curve("up", "streams", Some("up"), "peak_mib"),
                curve("down", "streams", Some("down"), "peak_mib"),
            ],
        ),
        (
            "growth-size.svg",
            "Peak resident MiB by bytes of the object",
            vec![
                curve("PUT", "size", Some("up"), "peak_mib"),
                curve("GET", "size", Some("down"), "peak_mib"),
                curve("parts of 1 GiB", "long", Some("up"), "peak_mib"),
                curve("GET of those", "long", Some("down"), "peak_mib"),
            ],
        ),
        (
            "growth-requests.svg",
            "CPU microseconds per GET of 4 KiB, by connections and by users",
            vec![
                curve("connections", "connections", None, "us_per_request"),
                curve("users", "users", None, "us_per_request"),
            ],
        ),
        (
            "growth-parts.svg",
            "Milliseconds by parts of the object",
            vec![
                curve("completion", "parts", None, "completion_ms"),
                curve("range of 64 KiB, cold", "parts", None, "range_cold_ms"),
            ],
        ),
    ];
    for (file, title, curves) in plots {
        save(&asked.folder, file, line_chart(title, &curves));
    }
}

/// The last figure of each name.
fn bars(
    lines: &[Value],
    operation: &str,
    size: u64,
    clients: u64,
    field: &str,
) -> Vec<(String, f64)> {
    let mut bars: Vec<(String, f64)> = Vec::new();
    for line in lines {
        let wanted = line["kind"] == "compare"
            && line["tls"] == false
            && line["operation"] == operation
            && line["size"] == size
            && line["clients"] == clients;
        let figure = line[field].as_f64();
        let (true, Some(figure), Some(name)) = (wanted, figure, line["name"].as_str()) else {
            continue;
        };
        match bars.iter_mut().find(|(found, _)| found == name) {
            Some(bar) => bar.1 = figure,
            None => bars.push((name.to_owned(), figure)),
        }
    }
    bars
}

fn save(folder: &Path, file: &str, svg: Option<String>) {
    if let Some(svg) = svg {
        let path = folder.join(file);
        std::fs::write(&path, svg).expect("write an SVG");
        println!("{}", path.display());
    }
}

/// White behind everything, so that it can be read on dark pages too.
fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#1a202c\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    )
}

fn bar_chart(title: &str, groups: &[(String, Vec<(String, f64)>)]) -> Option<String> {
    let all = groups.iter().flat_map(|(_, bars)| bars);
    let most = all.clone().map(|(_, figure)| *figure).fold(0.0, f64::max);
    let count = all.count();
    if count == 0 {
        return None;
    }
    let (left, right, row) = (270.0, 60.0, 20.0);
    let height = 44.0 + groups.len() as f64 * 34.0 + count as f64 * row;
    let mut svg = begin(title, height);
    let mut y = 40.0;
    for (name, bars) in groups.iter().filter(|(_, bars)| !bars.is_empty()) {
        y += 14.0;
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{y}\" font-weight=\"bold\">{name}</text>"
        );
        y += 8.0;
        for (name, figure) in bars {
            let width = figure / most * (WIDTH - left - right);
            let colour = match name.as_str() {
                "floor" | "hyper" => GREEN,
                name if name.starts_with("sealgate") => BLUE,
                _ => GREY,
            };
            let (text, end) = (y + 13.0, left + width + 6.0);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text>\
                 <rect x=\"{left}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\
                 <text x=\"{end:.1}\" y=\"{text}\">{}</text>",
                left - 8.0,
                y + 2.0,
                crate::report::Digits(*figure),
            );
            y += row;
        }
        y += 12.0;
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Both axes are logarithmic.
fn line_chart(title: &str, curves: &[(String, Vec<(f64, f64)>)]) -> Option<String> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    if points().count() == 0 {
        return None;
    }
    let range = |of: fn(&(f64, f64)) -> f64| {
        let logs = points().map(move |point| of(point).max(1e-3).log10());
        let (low, high) = logs.fold((f64::MAX, f64::MIN), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        (low.floor(), high.ceil().max(low.floor() + 1.0))
    };
    let (left, top, bottom, right, height) = (70.0, 48.0, 300.0, 600.0, 340.0);
    let (xs, ys) = (range(|point| point.0), range(|point| point.1));
    let x = |figure: f64| left + (figure.max(1e-3).log10() - xs.0) / (xs.1 - xs.0) * (right - left);
    let y =
        |figure: f64| bottom - (figure.max(1e-3).log10() - ys.0) / (ys.1 - ys.0) * (bottom - top);
    let mut svg = begin(title, height);
    for power in xs.0 as i32..=xs.1 as i32 {
        let at = x(10f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#e2e8f0\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            short(power),
        );
    }
    for power in ys.0 as i32..=ys.1 as i32 {
        let at = y(10f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#e2e8f0\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            at + 4.0,
            short(power),
        );
    }
    for (number, (name, points)) in curves.iter().enumerate() {
        let colour = LINES[number % LINES.len()];
        let path: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for point in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(point.0),
                y(point.1)
            );
        }
        let at = top + 16.0 + number as f64 * 20.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"{at}\">{name}</text>",
            right + 14.0,
            at - 10.0,
            right + 32.0,
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn short(power: i32) -> String {
    match power {
        ..=-1 => format!("{}", 10f64.powi(power)),
        0..=2 => format!("{}", 10u64.pow(power as u32)),
        3..=5 => format!("{}k", 10u64.pow(power as u32 - 3)),
        6..=8 => format!("{}M", 10u64.pow(power as u32 - 6)),
        _ => format!("{}G", 10u64.pow(power as u32 - 9)),
    }
}
