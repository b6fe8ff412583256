"""Style sheets: light and dark, from a phone's width up, and on paper."""

from __future__ import annotations

COLOURS = """
:root{color-scheme:light dark;--page:#fff;--panel:#f4f6f8;--ink:#17212b;--soft:#55626f;--rule:#d8dfe6;
--chosen:#0a5a9c;--works:#0a5a9c;--refused:#a8442f;--warn:#8a5200;--warn-page:#fdf3e3;--bad-page:#fbeae6;
--prefill:#0a5a9c;--decode:#63b0dc;--idle:#c3ccd5;--mark:#7c8894;--risk:#c8690b;
--heat1:#eef4fa;--heat2:#dbe8f4;--heat3:#c2d8ec;--heat4:#a5c5e1}
@media(prefers-color-scheme:dark){:root{--page:#10151b;--panel:#19212a;--ink:#e4eaf0;--soft:#9caab8;--rule:#2d3844;
--chosen:#7cc0f4;--works:#7cc0f4;--refused:#f19a85;--warn:#f0bd72;--warn-page:#2b2315;--bad-page:#2f1d19;
--prefill:#7cc0f4;--decode:#2b78ab;--idle:#465361;--mark:#8694a2;--risk:#eda04f;
--heat1:#16222d;--heat2:#1b2f40;--heat3:#214056;--heat4:#29536f}}
"""

STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main,header.top,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header.top{padding-top:2rem}
footer{padding-bottom:3rem;color:var(--soft);font-size:.875rem}
h1{font-size:1.125rem;margin:0;font-weight:600;color:var(--soft)}
h2{font-size:2rem;line-height:1.15;margin:2.5rem 0 .75rem;letter-spacing:-.015em;text-wrap:balance}
h2 small{font-size:1.125rem;font-weight:400;color:var(--soft);letter-spacing:0}
h3{font-size:1.25rem;margin:3rem 0 .5rem;letter-spacing:-.005em}
h4{font-size:1rem;margin:1.75rem 0 .25rem}
p{margin:.5rem 0;max-width:65ch}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:.75rem 0 0}
a{color:var(--chosen)}
.soft{color:var(--soft)}
.note{border-left:4px solid var(--warn);background:var(--warn-page);padding:.625rem 1rem;margin:1rem 0;max-width:none}
.note.bad{border-color:var(--refused);background:var(--bad-page)}
.price{display:flex;flex-wrap:wrap;align-items:baseline;gap:0 1.5rem;margin:1.5rem 0 .25rem}
.price b{font-size:2.75rem;line-height:1.1;font-weight:650;letter-spacing:-.02em;color:var(--chosen)}
.price b+span{margin-left:-1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1.25rem 1.5rem;margin:1.5rem 0}
.tiles div{border-top:1px solid var(--rule);padding-top:.5rem}
.tiles dt{font-size:.875rem;color:var(--soft)}
.tiles dd{margin:0;font-size:1.25rem;font-weight:600}
.tiles dd small{display:block;font-size:.8125rem;font-weight:400;color:var(--soft)}
.scroll{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.4375rem .75rem .4375rem 0;border-bottom:1px solid var(--rule)}
thead th{color:var(--soft);font-weight:500;vertical-align:bottom}
tbody th{font-weight:500}
th.n,td.n{text-align:right;white-space:nowrap;padding-right:1.25rem}
.w{min-width:16rem}
code{font:.8125rem/1.4 ui-monospace,"SF Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
td code,th code{white-space:nowrap}
tr.chosen th,tr.chosen td{background:var(--heat1)}
.matrix td,.matrix thead th{padding:.5rem .625rem;border-left:2px solid var(--page);text-align:right;white-space:nowrap}
.matrix thead th:first-child{text-align:left;padding-left:0}
.matrix small{display:block;color:var(--soft);font-weight:400}
.matrix tbody th{min-width:9rem;padding-right:.75rem}
.h1{background:var(--heat1)}.h2{background:var(--heat2)}.h3{background:var(--heat3)}.h4{background:var(--heat4)}
.matrix td.no{color:var(--soft);white-space:normal}
.matrix td.best b::before{content:"\\25C6\\00A0";color:var(--chosen)}
.out{font-style:italic;color:var(--soft)}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--chosen);padding:.25rem 0}
figure{margin:1rem 0}
figcaption{font-size:.875rem;color:var(--soft);margin-top:.5rem;max-width:65ch}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.5rem}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:.5rem 0;font-size:.875rem}
.key svg{width:1.125rem;height:1rem;vertical-align:-.1875rem;margin-right:.375rem;overflow:visible}
.key .wide svg{width:1.75rem}
.gauge{display:block;margin:.375rem 0 .25rem}
th .gauge{width:4.5rem}
.track{fill:var(--rule)}
.filled{fill:var(--chosen)}
.kept{fill:var(--idle)}
@media print{details>*{display:block}main,header.top{max-width:none}}
"""

DRAWING = """
svg{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
.picture{width:100%;height:auto;display:block}
.bars{display:block;overflow:visible}
.grid{stroke:var(--rule)}
.axis{stroke:var(--mark)}
.tick,.label{fill:var(--soft)}
.tick{font-size:12px}
.name,.sum{fill:var(--ink);font-weight:600}
.sum{font-weight:400}
.halo{paint-order:stroke;stroke:var(--page);stroke-width:4px}
.limit{stroke:var(--warn);stroke-width:1.5;stroke-dasharray:5 4}
.front{fill:none;stroke:var(--works);stroke-width:1.5;opacity:.55}
.works circle,circle.works{fill:var(--page);stroke:var(--works);stroke-width:2}
.chosen path{fill:var(--chosen);stroke:var(--page);stroke-width:1.5}
.refused path{fill:none;stroke:var(--refused);stroke-width:1.75;opacity:.8}
.part{stroke:var(--page);stroke-width:1.5}
.prefill{fill:var(--prefill)}
.decode{fill:var(--decode)}
.idle{fill:var(--idle)}
.stroke{stroke:var(--mark);stroke-width:1.25;fill:none}
.dot{fill:var(--risk)}
"""
"""What pictures need wherever they stand."""
