import org.junit.Test
import static org.junit.Assert.*

/** The evaluator itself: it refuses what Jenkins refuses, each for its own reason. */
class EvaluatorTest extends Declarative {
    void refused(String reason, String text) {
        def file = File.createTempFile('Jenkinsfile', '')
        file.text = text
        setUp()
        try {
            run(file.path)
            fail("accepted: $text")
        } catch (NotDeclarative e) {
            assertTrue("$text: $e.message", e.message.contains(reason))
        } finally { file.delete() }
    }
    static String stages(String inner, String agent = 'any') { "pipeline { agent $agent; stages { $inner } }" }
    static String of(String steps, String agent = 'any', String more = '') {
        "pipeline {\n agent $agent\n $more\n stages { stage('x') { steps {\n $steps\n } } } }"
    }

    @Test void missingParts() {
        refused('no stages', 'pipeline { agent any }')
        refused('no agent', "pipeline { stages { stage('x') { steps { echo 'y' } } } }")
        refused('has no steps', "pipeline { agent any; stages { stage('x') { } } }")
        refused('has no pipeline', "echo 'y'")
        refused('without a label', "pipeline { agent { label '' }; stages { stage('x') { steps { echo 'y' } } } }")
    }
    @Test void misspelledNames() {
        refused("unknown 'stags'", 'pipeline { agent any; stags { } }')
        refused("unknown 'disableConcurentBuilds'", of("echo 'y'", 'any', 'options { disableConcurentBuilds() }'))
        refused("unknown 'allways'", of("echo 'y'", 'any', "post { allways { echo 'x' } }"))
        refused("unknown 'gitHubPush'", of("echo 'y'", 'any', 'triggers { gitHubPush() }'))
        refused("unknown 'expresion'", stages("stage('x') { when { expresion { true } }; steps { echo 'y' } }"))
    }
    @Test void duplicateParts() {
        refused('agent twice', "pipeline { agent any; agent any; stages { stage('x') { steps { echo 'y' } } } }")
        refused('steps twice', "pipeline { agent any; stages { stage('x') { steps { echo 'y' }; steps { echo 'y' } } } }")
    }
    @Test void misplacedParts() {
        refused('a step outside steps', "pipeline { agent any; stages { stage('x') { sh 'y' } } }")
        refused('no step', of("def a = 1"))
        refused('no step', of("env.A = 'b'"))
        refused('no step', of("if (true) { echo 'y' }"))
        refused('no step', of("dir('z') { env.A = 'b' }"))
        refused('no environment', of("echo 'y'", 'any', 'environment { A = params.B }'))
        refused('neither true nor false', stages("stage('x') { when { expression { 'no' } }; steps { echo 'y' } }"))
    }
    @Test void stepsThatNeedAnAgent() {
        refused('sh needs an agent', of("sh 'y'", 'none'))
        refused('needs an agent', of("withCredentials([file(credentialsId: 'a', variable: 'B')]) { echo 'y' }", 'none'))
        refused('sh needs an agent', of("echo 'y'", 'none', "post { always { sh 'y' } }"))
    }
    @Test void interpolatedCommands() {
        refused('no command as it stands', of('sh "echo ${params.A}"'))
        refused('no command as it stands', of("sh 'echo ' + params.A"))
    }
    @Test void agentOfAStageEndsWithIt() {
        refused('sh needs an agent', stages("stage('x') { agent any; steps { sh 'y' } }; stage('z') { steps { sh 'y' } }", 'none'))
    }
    @Test void validPipelineIsAccepted() {
        def file = File.createTempFile('Jenkinsfile', '')
        file.text = of("script { env.A = 'b' }\n dir('z') { sh 'y' }", 'any', "environment { B = \"\${params.C ?: 'd'}\" }")
        run(file.path)
        assertEquals('SUCCESS', result)
        assertEquals([A: 'b', B: 'd'], env)
        file.delete()
    }
}
