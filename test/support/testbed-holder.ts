/** Makes a testbed of two hosts with a process on one of them, says so and waits for its end. */
import { spawn } from 'node:child_process'
import { Testbed } from '../../experiments/testbed/testbed.ts'

const testbed = await Testbed.up({ hosts: 2, label: process.argv[2] ?? 'held' })
const [program = '', ...args] = testbed.prefix(1)
const child = spawn(program, [...args, 'sleep', '1000'], { stdio: 'ignore', detached: true })
process.stdout.write(`up ${process.pid} ${child.pid}\n`)
setInterval(() => {}, 1_000_000)
