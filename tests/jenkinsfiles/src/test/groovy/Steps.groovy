import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/**
 * The steps that our Jenkinsfiles call; any other is an error of the library beneath. In the closures that it is given the script is
 * the delegate: say `me`.
 */
class Steps {
    static final ON_A_NODE = ['archiveArtifacts']

    static void allow(helper, Declarative me) {
        helper.registerAllowedMethod('pipeline', [Closure]) { Closure c -> me.pipeline(c) }
        helper.registerAllowedMethod('script', [Closure]) { Closure c -> c.call() }
        helper.registerAllowedMethod('sh', [String]) { String s -> me.step('sh', s, true) }
        helper.registerAllowedMethod('echo', [String]) { String s -> me.step('echo', s) }
        helper.registerAllowedMethod('error', [String]) { String s -> me.step('error', s); throw new RuntimeException(s) }
        for (n in ['input', 'archiveArtifacts', 'build']) {
            def k = n
            helper.registerAllowedMethod(k, [Map]) { Map m -> me.step(k, m, k in Steps.ON_A_NODE) }
        }
        helper.registerAllowedMethod('checkout', [Object]) { me.step('checkout', it, true) }
        helper.registerAllowedMethod('dir', [String, Closure]) { String d, Closure c -> me.step('dir', d, true); c.call() }
        helper.registerAllowedMethod('catchError', [Map, Closure]) { Map m, Closure c ->
            try {
                c.call()
            } catch (Exception e) {
                if (e instanceof NotDeclarative) throw e
                if (m.buildResult != 'SUCCESS') me.result = m.buildResult
            }
        }
        json(helper, me)
        credentials(helper, me)
    }

    private static void json(helper, Declarative me) {
        helper.registerAllowedMethod('readJSON', [Map]) { Map m ->
            me.step('readJSON', m, true)
            if (!me.files.containsKey(m.file)) throw new RuntimeException("no file $m.file")
            new JsonSlurper().parseText(me.files[m.file])
        }
        helper.registerAllowedMethod('writeJSON', [Map]) { Map m ->
            me.step('writeJSON', m, true)
            me.files[m.file] = JsonOutput.toJson(m.json)
        }
    }

    private static void credentials(helper, Declarative me) {
        for (n in ['string', 'file', 'usernamePassword']) {
            def k = n
            helper.registerAllowedMethod(k, [Map]) { Map m -> m + (m.credentialsId ? [kind: k] : [:]) }
        }
        helper.registerAllowedMethod('withCredentials', [List, Closure]) { List l, Closure c ->
            me.step('withCredentials', l.collect { [id: it.credentialsId.toString(), kind: it.kind, variable: it.variable] })
            if (l.any { it.kind == 'file' } && !me.node) throw new NotDeclarative('a credential that is a file needs an agent')
            l.each { if (it.credentialsId.toString() in me.missing) throw new RuntimeException("no credentials $it.credentialsId") }
            def (env, given) = [me.env.clone(), me.given.clone()]
            l.each { me.env[it.variable] = Declarative.SECRET + it.variable; me.given << it.credentialsId.toString() }
            try {
                c.call()
            } finally {
                l.each { me.env.remove(it.variable); if (env.containsKey(it.variable)) me.env[it.variable] = env[it.variable] }
                me.given = given
            }
        }
    }
}
