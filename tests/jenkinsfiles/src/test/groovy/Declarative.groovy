import com.lesfurets.jenkins.unit.BasePipelineTest
import groovy.json.JsonOutput
import org.junit.Before

/** The build ends as ABORTED (a refused input, a timeout, a stopped build), as opposed to a failed step. */
class Aborted extends RuntimeException { Aborted(String m) { super(m) } }

/** What Jenkins would refuse before it runs anything, or what cannot be run where it stands. */
class NotDeclarative extends RuntimeException { NotDeclarative(String m) { super(m) } }

/** A block of bare calls: each allowed name has a handler, anything else is an error. */
class Section {
    final String where
    final Map<String, Closure> on
    final Binding vars
    Section(String where, Binding vars, Map<String, Closure> on) { this.where = where; this.vars = vars; this.on = on }
    def methodMissing(String name, args) {
        if (!on.containsKey(name)) throw new NotDeclarative("$where: unknown '$name'")
        on[name].call(*args)
    }
    def propertyMissing(String name) { name in ['any', 'none'] ? name : vars.getVariable(name) }
}

/** Remembers the calls made in a block. */
class RecordedCalls {
    final List<Map> calls = []
    Map<String, Closure> on(List<String> names) {
        names.collectEntries { n -> [n, { Object... a -> calls << [name: n, args: a as List]; [(n): a as List] }] }
    }
    List<String> names() { calls*.name }
    def arg(String name) { calls.find { it.name == name }?.args?.getAt(0) }
}

/** An environment block: what is assigned goes into the build's environment. */
class Env {
    final Map vars, given
    Env(Map vars, Map given) { this.vars = vars; this.given = given }
    void setProperty(String k, v) {
        if (!(v instanceof String || v instanceof GString)) throw new NotDeclarative("environment: $k is no text")
        vars[k] = v.toString()
    }
    def getProperty(String k) { k == 'env' ? vars : k == 'params' ? given : vars[k] }
}

/** A strict evaluator of the declarative pipelines that our Jenkinsfiles are, on top of a library that knows scripted ones only. */
class Declarative extends BasePipelineTest {
    static final POST = ['always', 'success', 'failure', 'aborted', 'unstable', 'unsuccessful', 'cleanup']
    static final OPTIONS = ['disableConcurrentBuilds', 'timeout', 'skipDefaultCheckout', 'buildDiscarder', 'logRotator']
    static final ROOT = new File(System.getProperty('root')), OUT = new File(System.getProperty('out'))
    static final SECRET = 'S3CRET-'
    Script script
    Map params, env, model, currentBuild, files
    Set<String> missing                     // ids of credentials that the server does not have
    List<Map> steps                         // name, arg, the ids of the credentials at hand, the environment; in order
    List<String> ran, given, postErrors
    Closure onStep                          // throw from here to make a step fail
    boolean node
    String result

    @Override @Before void setUp() throws Exception {
        super.setUp()
        (params, env, currentBuild, files, missing) = [[:], [:], [:], [:], [] as Set]
        (steps, ran, given, postErrors, model, node, result) = [[], [], [], [], null, false, null]
        onStep = { name, arg -> }
        ['params', 'env', 'currentBuild'].each { binding.setVariable(it, this."$it") }
        binding.setVariable('scm', 'scm')
        Steps.allow(helper, this)
    }

    static void section(Closure c, delegate) { c.delegate = delegate; c.resolveStrategy = Closure.DELEGATE_ONLY; c.call() }
    void body(Closure c) { section(c, script) }

    /** Does a step, which is to say: remembers it. */
    def step(String name, arg, boolean needsNode = false) {
        if (needsNode && !node) throw new NotDeclarative("$name needs an agent, and has none")
        steps << [name: name, arg: arg, credentials: given.clone(), env: env.clone()]
        onStep(name, arg)
        null
    }
    List<Map> did(String name) { steps.findAll { it.name == name } }

    Map run(String file, Map parameters = [:]) {
        Grammar.check(new File(ROOT, file).isFile() ? new File(ROOT, file) : new File(file))
        params.putAll(parameters)
        script = loadScript(new File(ROOT, file).isFile() ? new File(ROOT, file).path : file)
        script.run()
        if (model == null) throw new NotDeclarative("$file has no pipeline block")
        model
    }

    /** Leaves for the Python tests what a pipeline says of itself, and the shell's part of it. */
    void leave(String name) {
        OUT.mkdirs()
        new File(OUT, "${name}.json").text = JsonOutput.prettyPrint(JsonOutput.toJson([
            parameters: model.parameters ? model.parameters.calls.collect { it.args[0] + [type: it.name] } : [],
            options: model.options ? model.options.calls : [],
            triggers: model.triggers ? model.triggers.names() : [],
            agent: model.agent,
            sh: did('sh').collect { [script: it.arg, credentials: it.credentials] },
            builds: did('build')*.arg,
            files: files,
        ]))
    }

    RecordedCalls recorded(String where, Closure c, List<String> names) {
        def k = new RecordedCalls()
        section(c, new Section(where, binding, k.on(names)))
        k
    }
    void once(Map where, String k, v) { if (where.containsKey(k)) throw new NotDeclarative("$k twice"); where[k] = v }
    def agentOf(x) {
        if (x in ['any', 'none']) return x
        def k = recorded('agent', x as Closure, ['label'])
        if (!k.arg('label')) throw new NotDeclarative('an agent without a label')
        [label: k.arg('label')]
    }

    void pipeline(Closure c) {
        model = [:]
        def stages = []
        section(c, new Section('pipeline', binding, [
            agent: { x -> once(model, 'agent', agentOf(x)) },
            options: { Closure o -> once(model, 'options', recorded('options', o, OPTIONS)) },
            triggers: { Closure o -> once(model, 'triggers', recorded('triggers', o, ['pollSCM', 'cron', 'githubPush'])) },
            parameters: { Closure o ->
                once(model, 'parameters', recorded('parameters', o, ['string', 'choice', 'booleanParam', 'text', 'password']))
                model.parameters.calls.each { def p = it.args[0]; if (!params.containsKey(p.name)) params[p.name] = p.defaultValue }
            },
            environment: { Closure o -> section(o, new Env(env, params)) },
            stages: { Closure o ->
                section(o, new Section('stages', binding, [stage: { String n, Closure b -> stages << [name: n, body: b] }]))
                once(model, 'stages', stages)
            },
            post: { Closure o -> once(model, 'post', postOf(o)) },
        ]))
        if (!model.agent) throw new NotDeclarative('no agent')
        if (!model.stages) throw new NotDeclarative('no stages')
        result = 'SUCCESS'
        node = model.agent != 'none'
        try { model.stages.each { stage(it.name, it.body) } } catch (Throwable e) { model.failed = settle(e) }
        conclude(model.post)
    }

    /** Says what came of it; only what Jenkins would not even begin goes on. */
    Throwable settle(Throwable e) {
        if (e instanceof NotDeclarative) throw e
        result = e instanceof Aborted ? 'ABORTED' : 'FAILURE'
        e
    }
    Map postOf(Closure o) {
        def m = [:]
        section(o, new Section('post', binding, POST.collectEntries { n -> [n, { Closure b -> m[n] = b }] }))
        m
    }
    void conclude(Map post) {
        def by = [SUCCESS: ['success'], ABORTED: ['aborted', 'unsuccessful'], FAILURE: ['failure', 'unsuccessful']][result]
        (['always'] + by + ['cleanup']).each {
            try {
                if (post && post[it]) body(post[it])
            } catch (Exception e) {
                settle(e)
                postErrors << e.message
            }
        }
    }

    void stage(String name, Closure b) {
        def st = [when: true], before = [node, env.clone()]
        section(b, new Section("stage '$name' (a step outside steps?)", binding, [
            agent: { x -> once(st, 'agent', agentOf(x)) },
            when: { Closure w -> section(w, new Section('when', binding, [expression: { Closure e ->
                e.delegate = script
                def answer = e.call()
                if (!(answer instanceof Boolean)) throw new NotDeclarative("when: $answer is neither true nor false")
                st.when = st.when && answer
            }])) },
            steps: { Closure x -> once(st, 'steps', x) },
            environment: { Closure o -> section(o, new Env(env, params)) },
            options: { Closure o -> once(st, 'options', recorded('stage options', o, ['timeout', 'retry'])) },
            post: { Closure o -> once(st, 'post', postOf(o)) },
        ]))
        if (!st.steps) throw new NotDeclarative("stage '$name' has no steps")
        model.stageOptions = (model.stageOptions ?: [:]) + [(name): st.options]
        if (st.when) {
            ran << name
            if (st.agent) node = st.agent != 'none'
            try {
                body(st.steps)
                conclude(st.post)
            } catch (Throwable e) {
                settle(e)
                conclude(st.post)
                throw e
            } finally { node = before[0] }
        }
    }
}
