import groovy.json.JsonOutput
import org.junit.Test
import static org.junit.Assert.*

/** Writes down what a Job DSL script says; what it does not know is an error. */
class Recorder {
    static final KNOWN = [
        pipelineJob: ['description', 'parameters', 'properties', 'definition'],
        parameters: ['stringParam'],
        properties: ['disableConcurrentBuilds', 'pipelineTriggers'],
        pipelineTriggers: ['triggers'], triggers: ['githubPush'],
        definition: ['cpsScm'], cpsScm: ['scm', 'scriptPath'], scm: ['git'], git: ['remote', 'branch'], remote: ['url'],
    ]
    final String where
    final List calls = []
    Recorder(String where) { this.where = where }
    def methodMissing(String name, args) {
        if (!(name in KNOWN[where])) throw new NotDeclarative("$where: unknown '$name'")
        note(name, args as List)
    }
    void note(String name, List args) {
        def entry = [name: name, args: args.findAll { !(it instanceof Closure) }*.toString(), calls: []]
        if (args && args.last() instanceof Closure) {
            def inner = new Recorder(name)
            Closure c = args.last().clone()
            c.delegate = inner
            c.resolveStrategy = Closure.DELEGATE_FIRST
            c.call()
            entry.calls = inner.calls
        }
        calls << entry
    }
}

abstract class JobDsl extends Script {
    final List jobs = []
    def pipelineJob(String name, Closure c) {
        def r = new Recorder('top')
        r.note('pipelineJob', [name, c])
        jobs.addAll(r.calls)
    }
}

class JobsTest {
    static List jobs(String text) {
        def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: JobDsl.name)
        def script = new GroovyShell(JobsTest.classLoader, new Binding(), configuration).parse(text)
        script.run()
        script.jobs
    }

    @Test void definesTwoJobs() {
        def jobs = jobs(new File(Declarative.ROOT, 'jenkins/jobs.groovy').text)
        assertEquals([['hello-world-release'], ['hello-world-deploy']], jobs*.args)
        Declarative.OUT.mkdirs()
        new File(Declarative.OUT, 'jobs.json').text = JsonOutput.toJson(jobs)
    }
    @Test(expected = NotDeclarative) void unknownMethodsAreRefused() {
        jobs("pipelineJob('x') { definition { cpsScm { scriptpath('y') } } }")
    }
}
