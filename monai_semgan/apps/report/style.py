"""How the page looks: on a screen, on a phone, on A4."""

from __future__ import annotations

from .markup import Markup

__all__ = ["STYLE"]

STYLE = Markup(
    """
:root { --ink: #17212b; --soft: #5b6875; --line: #dfe5ea; --back: #f4f6f8; --main: #0b6e6e; --pale: #bfe0de;
  --bad: #b3261e; --badback: #fdecea; --good: #1b7f4b; --busy: #9a6700; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--ink); overflow-wrap: anywhere;
  font: 15.5px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, nav, footer { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
.eyebrow { margin: 0; color: var(--main); font-weight: 650; letter-spacing: .03em; }
h1 { font-size: 29px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -.01em; }
h2 { font-size: 21px; margin: 0 0 14px; letter-spacing: -.005em; }
h2.small { font-size: 15.5px; margin: 22px 0 10px; }
h3 { font-size: 16.5px; margin: 24px 0 10px; }
h3 small { color: var(--soft); font-weight: 400; font-size: 13px; margin-left: 6px; }
h4 { font-size: 14px; margin: 14px 0 2px; }
p { margin: 0 0 10px; }
a { color: var(--main); }
.lead { color: var(--soft); margin-bottom: 4px; }
.summary { font-size: 16.5px; margin: 14px 0 0; }
.badge { display: inline-block; vertical-align: 4px; font-size: 12px; font-weight: 650; letter-spacing: .02em;
  padding: 2px 10px; border-radius: 99px; background: #e7ecf0; color: var(--soft); }
.badge.good { background: #dff3e7; color: var(--good); } .badge.bad { background: var(--badback); color: var(--bad); }
.badge.busy { background: #fff3d6; color: var(--busy); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(205px, 1fr)); gap: 14px; }
.card { background: #fff; border: 1px solid var(--line); border-top: 4px solid var(--main); border-radius: 8px;
  padding: 12px 16px 12px; break-inside: avoid; }
.card.failed { border-top-color: var(--bad); }
.card p { margin: 0; color: var(--soft); font-size: 13.5px; } .card b { color: var(--ink); font-weight: 600; }
.card .domain { color: var(--ink); font-weight: 650; font-size: 14.5px; }
.card .value { font-size: 36px; line-height: 1.2; font-weight: 680; color: var(--ink); letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.card .good { color: var(--good); } .card .bad { color: var(--bad); font-weight: 650; }
.notes { margin: 16px 0 0; padding-left: 20px; color: var(--soft); font-size: 14px; }
.notice { background: #fff8e6; border-left: 4px solid #e0b040; border-radius: 4px; padding: 8px 14px; }
nav { position: sticky; top: 0; z-index: 2; background: rgba(244, 246, 248, .96); padding-top: 10px;
  padding-bottom: 10px; margin-top: 16px; display: flex; gap: 18px; overflow-x: auto; white-space: nowrap;
  font-size: 14px; }
nav a { text-decoration: none; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px 24px;
  margin: 0 0 18px; scroll-margin-top: 52px; }
.scroll { overflow-x: auto; margin: 0 0 18px; } .short { break-inside: avoid; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; overflow-wrap: break-word; }
caption { text-align: left; color: var(--soft); padding: 0 0 6px; font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); font-size: 12.5px;
  vertical-align: bottom; }
th, td { padding: 5px 12px 5px 0; } td { border-bottom: 1px solid #edf0f3; vertical-align: top; }
.long { overflow-wrap: anywhere; min-width: 9em; }
th:last-child, td:last-child { padding-right: 0; } .remark { padding-left: 8px; }
.key { color: var(--soft); width: 9.5em; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.strong td { font-weight: 650; }
.bar { position: relative; display: inline-block; width: 90px; text-align: right; padding-right: 4px; }
.bar i { position: absolute; left: 0; top: 2px; bottom: 2px; background: var(--pale); border-radius: 2px; z-index: 0;
  opacity: .75; mix-blend-mode: multiply; }
.bar.bad i { background: #f3b8b3; } .bar.bad { color: var(--bad); font-weight: 650; }
.missing { color: var(--soft); font-style: italic; }
figure { margin: 0; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; border-radius: 5px; background: #000; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 5px; }
.figures { display: grid; grid-template-columns: repeat(2, 1fr); gap: 16px; margin-bottom: 12px; }
.figures figure:only-child { grid-column: 1 / -1; max-width: 560px; }
.figures.wide { grid-template-columns: 1fr; } .figures.wide figure:only-child { max-width: none; }
.figures.chart figure:only-child { max-width: none; }
.figures.chart img { border: 1px solid var(--line); width: auto; max-width: 100%; }
.strips { border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px 10px; margin-bottom: 18px;
  break-inside: avoid; }
.strip { display: grid; grid-template-columns: 110px 1fr 52px; align-items: center; font-size: 13px; }
.strip .note { text-align: right; font-variant-numeric: tabular-nums; } .strip.other { color: var(--soft); }
.strip:not(.other) .label, .strip:not(.other) .note { font-weight: 650; }
.strip svg { width: 100%; height: 24px; overflow: visible; }
.strip circle { fill: var(--main); fill-opacity: .6; stroke: #fff; stroke-width: 1; }
.strip.other circle { fill: #8697a5; }
.strip .interval { fill: var(--pale); } .strip.other .interval { fill: #e3e8ec; }
.strip .mean { stroke: var(--ink); stroke-width: 2.5; } .strip .grid { stroke: #e4e9ed; stroke-width: 1; }
.ticks { position: relative; height: 18px; color: var(--soft); font-size: 12px; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.caption { color: var(--soft); font-size: 13px; margin: 6px 0 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)); gap: 16px 20px; }
.curve figcaption { display: flex; justify-content: space-between; gap: 8px; margin: 0 0 3px; color: var(--ink);
  font-size: 12.5px; }
.curve figcaption b { overflow: hidden; text-overflow: ellipsis; }
.curve figcaption span { font-variant-numeric: tabular-nums; color: var(--soft); white-space: nowrap; }
.plot { position: relative; height: 92px; background: #fafbfc; border: 1px solid var(--line); border-radius: 4px; }
.plot svg { width: 100%; height: 100%; display: block; }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.plot .raw { stroke: #9cc9c7; stroke-width: 1; } .plot .mean { stroke: var(--main); stroke-width: 1.8; }
.plot .broken { stroke: var(--bad); stroke-width: 1.5; }
.plot span { position: absolute; right: 4px; font-size: 10.5px; line-height: 1.3; color: var(--soft);
  background: rgba(250, 251, 252, .8); }
.plot .high { top: 1px; } .plot .low { bottom: 1px; }
.plot:not(.rising) .low, .plot.rising .high { right: auto; left: 4px; }
.axis { display: flex; justify-content: space-between; font-size: 10.5px; color: var(--soft); }
details { margin: 14px 0 4px; } summary { cursor: pointer; color: var(--main); font-size: 14px; margin-bottom: 8px; }
.modelcard { font-size: 14px; } .modelcard h3 { font-size: 17px; } .modelcard h4 { font-size: 15px; }
pre { background: var(--back); padding: 10px 12px; border-radius: 5px; white-space: pre-wrap; font-size: 12.5px; }
code { font-size: .92em; }
footer { color: var(--soft); font-size: 13px; padding-bottom: 40px; }
@media (max-width: 640px) {
  body { font-size: 15px; }
  main, header, nav, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 20px; } h1 { font-size: 23px; }
  .cards { grid-template-columns: 1fr 1fr; gap: 10px; } .card { padding: 10px 12px; }
  .card .value { font-size: 29px; } .card p { font-size: 12.5px; }
  section { padding: 16px 14px; border-radius: 8px; }
  .figures { grid-template-columns: 1fr; }
  .curves { grid-template-columns: 1fr 1fr; gap: 12px; } .plot { height: 76px; }
  .minor { display: none; } th, td { padding-right: 7px; } table { font-size: 12.8px; }
  .strip { grid-template-columns: 74px 1fr 42px; } .bar { width: 62px; }
}
@page { size: A4; margin: 15mm 14mm 16mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; color: #5b6875; } }
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { background: #fff; font-size: 9.5pt; }
  main, header, footer { max-width: none; padding: 0; } header { padding-bottom: 12px; } nav { display: none; }
  section { border: 0; border-top: 1px solid var(--line); border-radius: 0; padding: 12px 0 0; margin: 0 0 14px; }
  h1 { font-size: 19pt; } h2 { font-size: 14pt; } h2, h3, h4 { break-after: avoid; }
  .cards { grid-template-columns: repeat(4, 1fr); gap: 8px; } .card .value { font-size: 21pt; }
  .card p { font-size: 8.5pt; } .card { padding: 8px 10px; }
  table, caption { font-size: 8.5pt; } th { font-size: 8pt; } tr { break-inside: avoid; }
  th, td { padding-top: 2.5px; padding-bottom: 2.5px; }
  .scroll { overflow: visible; } thead { display: table-header-group; }
  .curves { grid-template-columns: repeat(4, 1fr); gap: 8px 10px; } .plot { height: 62px; }
  .figures { gap: 10px; } details { display: none; } a { color: inherit; text-decoration: none; }
}
"""
)
"""The style sheet; a literal, so markup already."""
