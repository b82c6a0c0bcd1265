import org.junit.Test
import static org.junit.Assert.*

class ExamplesTest extends Declarative {
    void example(String name, List<String> expected, Map given = [:]) {
        run("jenkins/examples/${name}.Jenkinsfile", given)
        assertEquals(String.valueOf(model.failed), 'SUCCESS', result)
        assertEquals(expected, did('sh')[0].credentials)
        assertFalse(steps*.arg.toString().contains(SECRET))
        assertFalse(env.toString().contains(SECRET))
        leave("example-$name")
    }
    @Test void commandLine() { example('cli', ['docker-config', 'kubeconfig-staging']) }
    @Test void library() { example('library', ['docker-config', 'kubeconfig-staging']) }
    @Test void server() {
        example('rest', ['kubernaut-token'], [VERSION: '1.0.0', NOTE: DeployTest.HOSTILE])
        assertEquals([name: 'hello-world', namespace: 'staging', version: '1.0.0', note: DeployTest.HOSTILE],
            new groovy.json.JsonSlurper().parseText(files['request.json']))
    }
}
