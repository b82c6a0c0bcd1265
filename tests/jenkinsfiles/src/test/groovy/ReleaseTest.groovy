import org.junit.Test
import static org.junit.Assert.*

class ReleaseTest extends Declarative {
    static final FILE = 'jenkins/release/Jenkinsfile'

    Map release(Map given = [:]) {
        env.putAll([JOB_BASE_NAME: 'shop-release', BUILD_NUMBER: '7', BUILD_TAG: 'jenkins-team-shop-release-7'])
        files['release.json'] = '{"name": "shop", "version": "1.4.3-dev.2.g31fba06"}'
        run(FILE, [NAMESPACE: 'staging', APP_DIR: 'apps/shop'] + given)
    }

    @Test void publishesAVersionAndStartsDeploy() {
        release()
        assertEquals('SUCCESS', result)
        assertEquals(['Publish', 'Hand over'], ran)
        assertEquals(['dir', 'checkout', 'withCredentials', 'sh', 'archiveArtifacts', 'readJSON', 'build', 'echo'], steps*.name)
        assertEquals(['OP_ID'], model.parameters.calls.collect { it.args[0].name })
        def sh = did('sh')[0]
        assertEquals(['shop', 'apps/shop'], [sh.env.NAME, sh.env.APP_DIR])
        assertEquals('#7 1.4.3-dev.2.g31fba06', currentBuild.displayName.toString())
        assertEquals('shop 1.4.3-dev.2.g31fba06', currentBuild.description.toString())
        leave('release')
    }
    @Test void deployGetsTheVersionAndAnOperationId() {
        release()
        def build = did('build')[0].arg
        assertEquals('shop-deploy', build.job.toString())
        assertEquals(false, build.wait)
        assertEquals([VERSION: '1.4.3-dev.2.g31fba06', NAMESPACE: 'staging', OP_ID: 'jenkins-team-shop-release-7'],
            build.parameters.collectEntries { [it.name, it.value.toString()] })
        assertEquals([], did('build')[0].credentials)
    }
    @Test void noNamespaceStartsNoDeploy() {
        for (none in ['', null]) {
            setUp()
            release(NAMESPACE: none)
            assertEquals('SUCCESS', result)
            assertEquals(['Publish'], ran)
            assertEquals([], did('build'))
        }
    }
    @Test void defaultFolderIsTheRepositorysRoot() {
        release(APP_DIR: '')
        assertEquals('.', did('sh')[0].env.APP_DIR)
    }
    @Test void failedPublishStartsNoDeploy() {
        onStep = { n, a -> if (n == 'sh') throw new RuntimeException('exit status 3') }
        release()
        assertEquals('FAILURE', result)
        assertEquals(['Publish'], ran)
        assertEquals([], did('archiveArtifacts') + did('build'))
        assertEquals(1, did('echo').size())
    }
    @Test void abortedPublishStartsNoDeploy() {
        onStep = { n, a -> if (n == 'sh') throw new Aborted('stopped') }
        release()
        assertEquals('ABORTED', result)
        assertEquals([], did('build'))
    }
    @Test void missingDeployJobFailsAfterPublishing() {
        onStep = { n, a -> if (n == 'build') throw new RuntimeException('No item named shop-deploy found') }
        release()
        assertEquals('FAILURE', result)
        assertEquals(1, did('archiveArtifacts').size())
    }
    @Test void secretsAreBoundToPublishOnly() {
        env.KUBERNAUT_GITHUB = 'true'
        release()
        assertEquals([[id: 'docker-config', kind: 'file', variable: 'DOCKER_CONFIG_JSON'],
                      [id: 'github-token', kind: 'string', variable: 'KUBERNAUT_GITHUB_TOKEN']], did('withCredentials')[0].arg)
        assertEquals(['sh'], steps.findAll { it.credentials }*.name)
        assertFalse(steps*.arg.toString().contains(SECRET))
        assertFalse(env.toString().contains(SECRET))
    }
    @Test void noGitHubNeedsNoToken() {
        release()
        assertEquals(['docker-config'], did('sh')[0].credentials)
    }
    @Test void runsPerPushWithATimeout() {
        release()
        assertEquals(['githubPush'], model.triggers.names())
        assertEquals([label: 'kubernaut'], model.agent)
        assertEquals([time: 1, unit: 'HOURS'], model.options.arg('timeout'))
        assertTrue(model.options.names().containsAll(['disableConcurrentBuilds', 'buildDiscarder']))
    }
}
