/** One line of a chart; `at` in the order of `x`. */
export interface ChartSeries {
  readonly name: string
  readonly color: string
  readonly isDashed?: boolean
  readonly at: readonly { readonly x: number; readonly y: number }[]
}

export interface ChartLabels {
  readonly title: string
  readonly x: string
  readonly y: string
  /** Of x: powers of two, or evenly from 0 on. @default 'log2' */
  readonly scale?: 'log2' | 'linear'
}

const WIDTH = 640
const HEIGHT = 360
const LEFT = 64
const RIGHT = 16
const TOP = 40
const BOTTOM = 48
const LEGEND_STEP = 18

/** Draws lines over a logarithmic (base 2) or linear x axis and a y axis from 0, as SVG. */
export function lineChart(labels: ChartLabels, series: readonly ChartSeries[]): string {
  const points = series.flatMap(({ at }) => at)
  const xs = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b)
  const step = niceStep(Math.max(...points.map(({ y }) => y), 1) / 5)
  const top = Math.ceil(Math.max(...points.map(({ y }) => y), 1) / step) * step
  const { ticks, place } = labels.scale === 'linear' ? linearAxis(xs) : log2Axis(xs)
  const px = (x: number): number => round(LEFT + place(x) * (WIDTH - LEFT - RIGHT))
  const py = (y: number): number => round(HEIGHT - BOTTOM - (y / top) * (HEIGHT - TOP - BOTTOM))
  const grid: string[] = []
  for (let y = 0; y <= top; y += step) {
    grid.push(`<path class="grid" d="M${LEFT} ${py(y)}H${WIDTH - RIGHT}"/>`)
    grid.push(`<text x="${LEFT - 8}" y="${py(y) + 4}" text-anchor="end">${tick(y)}</text>`)
  }
  for (const x of ticks) {
    grid.push(
      `<text x="${px(x)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${tick(x)}</text>`
    )
  }
  const lines = series.flatMap(({ color, at, isDashed = false }) => [
    `<polyline fill="none" stroke="${color}" stroke-width="2"${isDashed ? ' stroke-dasharray="6 4"' : ''} points="${at.map(({ x, y }) => `${px(x)},${py(y)}`).join(' ')}"/>`,
    ...at.map(({ x, y }) => `<circle cx="${px(x)}" cy="${py(y)}" r="3" fill="${color}"/>`)
  ])
  const legend = series.map(({ name, color }, index) => {
    const y = TOP + 10 + index * LEGEND_STEP
    return `<rect x="${LEFT + 12}" y="${y - 6}" width="14" height="4" fill="${color}"/><text x="${LEFT + 32}" y="${y}">${escaped(name)}</text>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}">`,
    '<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}</style>',
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${WIDTH / 2}" y="20" text-anchor="middle" style="font-size:14px">${escaped(labels.title)}</text>`,
    ...grid,
    `<text x="${(WIDTH + LEFT) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escaped(labels.x)}</text>`,
    `<text transform="translate(16 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">${escaped(labels.y)}</text>`,
    ...lines,
    ...legend,
    '</svg>',
    ''
  ].join('\n')
}

/** Where numbers stand on an axis, and where a value is on it, from 0 to 1. */
interface Axis {
  readonly ticks: readonly number[]
  readonly place: (x: number) => number
}

function log2Axis(xs: readonly number[]): Axis {
  const levels = xs.map(Math.log2)
  const first = Math.min(...levels)
  const width = Math.max(...levels) - first || 1
  return { ticks: xs, place: (x) => (Math.log2(x) - first) / width }
}

function linearAxis(xs: readonly number[]): Axis {
  const step = niceStep(Math.max(...xs) / 8)
  const count = Math.ceil(Math.max(...xs) / step)
  const ticks = Array.from({ length: count + 1 }, (_, index) => index * step)
  return { ticks, place: (x) => x / (count * step) }
}

/** 1, 2 or 5 times a power of ten, at least `wanted`. */
function niceStep(wanted: number): number {
  const unit = 10 ** Math.floor(Math.log10(wanted))
  return ([1, 2, 5].find((factor) => factor * unit >= wanted) ?? 10) * unit
}

/** Sums of steps such as 0.2 are not exact. */
function tick(value: number): string {
  return String(Number(value.toPrecision(6)))
}

function round(value: number): number {
  return Number(value.toFixed(1))
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
