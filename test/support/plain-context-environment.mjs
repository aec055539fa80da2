import vm from 'node:vm'
import { TestEnvironment } from 'jest-environment-node'

/** What V8 made of a module's text, by its file: each test file has its modules anew, with the same text. */
const compiled = new Map()

/** A module that is compiled once in a process, and not again for every test file that imports it. */
class CompiledOnceModule extends vm.SourceTextModule {
  constructor(code, options) {
    const { identifier } = options
    const before = compiled.get(identifier)
    const isKnown = before?.code === code
    super(code, isKnown ? { ...options, cachedData: before.cachedData } : options)
    // Before it runs: V8 gives no code of modules that have begun to.
    if (!isKnown) compiled.set(identifier, { code, cachedData: this.createCachedData() })
  }
}
vm.SourceTextModule = CompiledOnceModule

/**
 * Jest's environment for Node.js with a plain context. Jest's own has a proxy for its global object, through which
 * every use of a global name goes (`Math`, `Number`, `Uint8Array`); processor-bound suites take twice as long with it.
 */
export default class PlainContextEnvironment extends TestEnvironment {
  constructor(config, context) {
    const { createContext } = vm
    vm.createContext = () => createContext(vm.constants.DONT_CONTEXTIFY)
    try {
      super(config, context)
    } finally {
      vm.createContext = createContext
    }
  }
}
