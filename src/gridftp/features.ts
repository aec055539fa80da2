import { formatFactList } from './mlst.ts'
import { type Reply, reply, replyWithLines } from './replies.ts'
import type { CommandDefinition, SessionState } from './types.ts'

/** Answers FEAT: what the commands in the table stand for. @see RFC 2389 */
export function featureReply(commands: Iterable<CommandDefinition>, state: SessionState): Reply {
  const features = Array.from(commands).flatMap((command) => command.features ?? [])
  const lines = features.map((feature) =>
    feature === 'MLST' ? `MLST ${formatFactList(state.facts)}` : feature
  )
  return replyWithLines(211, 'Extensions supported', lines)
}

const VERBS_PER_LINE = 8

/** Answers HELP without an argument: every command. */
export function helpReply(commands: Iterable<CommandDefinition>): Reply {
  const verbs = Array.from(commands, ({ verb }) => verb.padEnd(6)).toSorted()
  const lines: string[] = []
  for (let at = 0; at < verbs.length; at += VERBS_PER_LINE) {
    lines.push(
      verbs
        .slice(at, at + VERBS_PER_LINE)
        .join('')
        .trimEnd()
    )
  }
  return replyWithLines(214, 'Commands', lines)
}

/** Answers HELP about one command. */
export function helpOnReply(command: CommandDefinition | undefined): Reply {
  if (command === undefined) return reply(504, 'Unknown command.')
  return reply(214, syntaxOf(command))
}

/** How a command is written. */
export function syntaxOf({ verb, syntax }: CommandDefinition): string {
  return `Syntax: ${verb} ${syntax}`.trimEnd()
}
